# How subbit::compiled is compiled inside a project without a build type, and with one: its -O flags, the last of which
# counts. Nothing is built.
include(${CMAKE_CURRENT_LIST_DIR}/tools.cmake)

function(check type expected)
  run(${CMAKE_COMMAND} -S ${here}/add_subdirectory -B ${BINARY}/consumer ${options} -D SUBBIT_SOURCE=${SOURCE}
      -D CMAKE_BUILD_TYPE=${type} -D CMAKE_EXPORT_COMPILE_COMMANDS=ON ${ARGN})
  file(STRINGS ${BINARY}/consumer/compile_commands.json command REGEX "command.*instances_float")
  string(REGEX MATCHALL " -O[0-9s]" flags "${command}")
  if(NOT flags)
    set(flags none)
  endif()
  list(GET flags -1 last)
  string(STRIP "${last}" last)
  if(NOT last STREQUAL expected)
    message(FATAL_ERROR "build type '${type}' ${ARGN}: ${last}, expected ${expected}\n${command}")
  endif()
endfunction()

check("" -O2)
check(Debug -O2)
check(Debug -O2 "-DCMAKE_CXX_FLAGS_DEBUG=-O0 -g")
check(Release -O3 -DCMAKE_CXX_FLAGS_DEBUG=-g)
check("" none -DSUBBIT_OPTIMIZE_COMPILED=OFF)
