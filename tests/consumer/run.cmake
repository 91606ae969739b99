# cmake -D SOURCE=... -D BINARY=... -D WAY=find_package|fetch_content|add_subdirectory -P run.cmake
# Configures, builds and runs one consumer from nothing; for find_package, installs the library into a prefix first.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\n${output}\nfailed: ${status}")
  endif()
endfunction()

set(options -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER})
set(here ${SOURCE}/tests/consumer)
file(REMOVE_RECURSE ${BINARY})

if(WAY STREQUAL find_package)
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY}/library ${options} -D CMAKE_INSTALL_PREFIX=${BINARY}/prefix
      -D SUBBIT_BUILD_EXAMPLES=OFF -D SUBBIT_BUILD_TESTS=OFF -D SUBBIT_BUILD_BENCHES=OFF)
  run(${CMAKE_COMMAND} --install ${BINARY}/library)
  list(APPEND options -D CMAKE_PREFIX_PATH=${BINARY}/prefix)
endif()
run(${CMAKE_COMMAND} -S ${here}/${WAY} -B ${BINARY}/consumer ${options} -D SUBBIT_SOURCE=${SOURCE})
run(${CMAKE_COMMAND} --build ${BINARY}/consumer)
run(${BINARY}/consumer/consumer)
