# The install tree, by components: `development`, the headers and what find_package(subbit) and pkg-config need;
# `compiled`, the library subbit::compiled, if it was built; `program`, llama_compress, if it was built. So installing
# never asks for a build.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(subbit_config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/subbit)
set(subbit_doc_dir ${CMAKE_INSTALL_DATADIR}/doc/subbit)
set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME development)

install(DIRECTORY include/subbit DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS subbit EXPORT subbit)
install(EXPORT subbit NAMESPACE subbit:: FILE subbitTargets.cmake DESTINATION ${subbit_config_dir})
configure_package_config_file(cmake/subbitConfig.cmake.in subbitConfig.cmake INSTALL_DESTINATION ${subbit_config_dir}
                              PATH_VARS CMAKE_INSTALL_LIBDIR)
configure_file(cmake/subbitConfigVersion.cmake.in subbitConfigVersion.cmake @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/subbitConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/subbitConfigVersion.cmake
              cmake/Findxsimd.cmake cmake/subbitCuda.cmake cmake/subbitMpi.cmake
        DESTINATION ${subbit_config_dir})
install(FILES LICENSE DESTINATION ${subbit_doc_dir})

# The conformance suite, for the tests of a backend of one's own: what subbit::conformance gives the path of.
install(DIRECTORY tests/conformance DESTINATION ${subbit_conformance_dir} FILES_MATCHING PATTERN "*.hpp")
install(FILES tests/support/int8_bound.hpp tests/support/product.hpp DESTINATION ${subbit_conformance_dir}/support)
install(TARGETS subbit_conformance EXPORT subbit)

install(TARGETS subbit_compiled EXPORT subbit_compiled
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT compiled OPTIONAL)
install(EXPORT subbit_compiled NAMESPACE subbit:: FILE subbitCompiledTargets.cmake DESTINATION ${subbit_config_dir})

string(REGEX REPLACE "[^/]+" ".." subbit_prefix_from_pkgconfig ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(subbit_compiled_flags "-DSUBBIT_COMPILED")
if(SUBBIT_WITH_JSON)
  string(APPEND subbit_compiled_flags " -DSUBBIT_COMPILED_IO")
endif()
foreach(name subbit subbit-compiled)
  configure_file(cmake/${name}.pc.in ${name}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

# `cpack -G DEB` in the build folder: one package of development and compiled, libsubbit-dev_VERSION_ARCHITECTURE.deb.
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_NAME libsubbit-dev)
set(CPACK_PACKAGE_CONTACT "subbit")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
set(CPACK_COMPONENTS_ALL development compiled)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4), libxsimd-dev, nlohmann-json3-dev")
if(PROJECT_IS_TOP_LEVEL)
  include(CPack)
endif()
