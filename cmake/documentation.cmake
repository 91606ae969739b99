# `cmake --build ... --target documentation` writes the API pages to BUILD/api/html; a warning is an error.
find_package(Doxygen QUIET)
if(DOXYGEN_FOUND)
  file(REAL_PATH docs/library.md subbit_main_page)
  configure_file(cmake/Doxyfile.in Doxyfile @ONLY)
  add_custom_target(documentation COMMAND ${DOXYGEN_EXECUTABLE} ${CMAKE_CURRENT_BINARY_DIR}/Doxyfile VERBATIM)
endif()
