# Configures, builds and runs the consumer WAY, from nothing. find_package first installs the library, without building
# anything, and `installed` uses what is in PREFIX.
include(${CMAKE_CURRENT_LIST_DIR}/tools.cmake)

if(WAY STREQUAL find_package)
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${BINARY}/library ${options} -D CMAKE_INSTALL_PREFIX=${BINARY}/prefix
      -D SUBBIT_BUILD_TESTS=OFF -D SUBBIT_BUILD_BENCHES=OFF -D SUBBIT_WITH_CUDA=OFF)
  run(${CMAKE_COMMAND} --install ${BINARY}/library)
  foreach(file share/doc/subbit/LICENSE lib/pkgconfig/subbit.pc include/subbit/subbit.hpp)
    require_file(${BINARY}/prefix/${file})
  endforeach()
  set(PREFIX ${BINARY}/prefix)
endif()
run(${CMAKE_COMMAND} -S ${here}/${WAY} -B ${BINARY}/consumer ${options} -D SUBBIT_SOURCE=${SOURCE}
    -D CMAKE_PREFIX_PATH=${PREFIX})
run(${CMAKE_COMMAND} --build ${BINARY}/consumer)
run(${BINARY}/consumer/consumer)
