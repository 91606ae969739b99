# A file that uses the whole library, optimized and with the usual warnings as errors: with this build's compiler, and with
# Clang where it is another one. Headers alone and with subbit::compiled.
include(${CMAKE_CURRENT_LIST_DIR}/tools.cmake)

set(flags -std=c++20 -fopenmp-simd -O2 -Wall -Wextra -Wconversion -Wshadow -Werror -I${SOURCE}/include)
foreach(folder IN LISTS INCLUDES)
  list(APPEND flags -isystem ${folder})
endforeach()
set(compilers ${COMPILER})
find_program(clang NAMES clang++-16 clang++)
if(clang AND NOT COMPILER MATCHES "clang")
  list(APPEND compilers ${clang})
endif()
foreach(compiler IN LISTS compilers)
  foreach(way "" "-DSUBBIT_COMPILED;-DSUBBIT_COMPILED_IO")
    run(${compiler} ${flags} ${way} -c ${here}/installed/plugin.cpp -o ${BINARY}/whole.o)
  endforeach()
endforeach()
