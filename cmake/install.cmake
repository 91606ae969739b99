# The install tree: headers, the exported target, and what find_package(subbit) needs to find the dependencies again.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(subbit_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/subbit)
install(DIRECTORY include/subbit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS subbit EXPORT subbit)
install(EXPORT subbit NAMESPACE subbit:: FILE subbitTargets.cmake DESTINATION ${subbit_config_dir})
configure_package_config_file(cmake/subbitConfig.cmake.in subbitConfig.cmake INSTALL_DESTINATION ${subbit_config_dir})
write_basic_package_version_file(subbitConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/subbitConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/subbitConfigVersion.cmake
              cmake/Findxsimd.cmake cmake/subbitCuda.cmake cmake/subbitMpi.cmake
        DESTINATION ${subbit_config_dir})
