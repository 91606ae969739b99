# What this project's own programs are built with, and no user of the library ever sees: link it PRIVATE.
add_library(subbit_developer INTERFACE)

if(SUBBIT_DEVELOPER)
  # nvcc's own output is not pedantic.
  target_compile_options(subbit_developer INTERFACE
      $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wshadow;-Werror>
      "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wconversion,-Wshadow,-Werror;-Werror=all-warnings>")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC 12 reports the deliberately undefined vectors of its own intrinsics headers (`__Y`) as used uninitialized;
    # Clang, which has the same warnings, does not. Below half a GB of its memory GCC looks for none to free: 7 % of its time.
    target_compile_options(subbit_developer INTERFACE
        $<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized;-Wno-uninitialized;--param=ggc-min-heapsize=524288>
        "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wno-maybe-uninitialized,-Wno-uninitialized>")
  else()
    # Below -O2 Clang does not vectorize, and warns of every `#pragma omp simd` that asks for it.
    target_compile_options(subbit_developer INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-pass-failed>)
  endif()
endif()

# Tests are compiled with little optimization, since compiling takes most of their time. More pays where they spend the
# rest; under the sanitizers it triples the time to compile.
if(SUBBIT_SANITIZE)
  set(SUBBIT_HOT_CODE -O1)
  set(flags -fsanitize=${SUBBIT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(subbit_developer INTERFACE ${flags})
  target_link_options(subbit_developer INTERFACE ${flags})
elseif(SUBBIT_DEVELOPER)
  set(SUBBIT_HOT_CODE -O2)
endif()
if(SUBBIT_FUZZ)
  set(SUBBIT_FUZZED_CODE -fsanitize=fuzzer-no-link)  # counts what an input reaches, in programs without a fuzzer too
endif()

if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(SUBBIT_CCACHE ccache)
  mark_as_advanced(SUBBIT_CCACHE)
  if(SUBBIT_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${SUBBIT_CCACHE})
  endif()
endif()
if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER AND CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()
