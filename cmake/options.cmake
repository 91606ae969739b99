# Every switch, each with the library's prefix. Nothing but the library itself is on inside another project's build.
option(SUBBIT_FETCH_DEPENDENCIES "Download a dependency, at a pinned version, where find_package does not find it" ON)
option(SUBBIT_INSTALL "Make the install target" ${PROJECT_IS_TOP_LEVEL})
option(SUBBIT_OPTIMIZE_COMPILED "Compile subbit::compiled with -O2 where the build type does not optimize" ON)
option(SUBBIT_BUILD_EXAMPLES "Build the examples and llama_compress" ${PROJECT_IS_TOP_LEVEL})
option(SUBBIT_DEVELOPER "Warnings are errors" OFF)
set(SUBBIT_SANITIZE "" CACHE STRING "Sanitizers of the examples and tests, e.g. address,undefined")
set(SUBBIT_WITH_MPI AUTO CACHE STRING "The target subbit::mpi, and ranks in llama_compress: ON, OFF, or AUTO (where this is the top-level project and MPI is found)")
set(SUBBIT_WITH_CUDA AUTO CACHE STRING "The target subbit::cuda and its tests: ON, OFF, or AUTO (where this is the top-level project and nvcc is found)")
option(SUBBIT_FUZZ "Build the libFuzzer targets (Clang)" OFF)

# Tests and benches are on by default where this is the top-level project and their packages are installed; asked for
# explicitly, what is missing is fetched.
function(subbit_option_with_packages name description)
  if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED ${name})
    foreach(package IN LISTS ARGN)
      find_package(${package} QUIET)
      if(NOT ${package}_FOUND)
        message(STATUS "${name} is OFF: ${package} was not found (ON fetches it)")
        set(${name} OFF PARENT_SCOPE)  # not in the cache: the next run looks again
        return()
      endif()
    endforeach()
  endif()
  option(${name} ${description} ${PROJECT_IS_TOP_LEVEL})
endfunction()

subbit_option_with_packages(SUBBIT_BUILD_TESTS "Build the tests" doctest rapidcheck)
subbit_option_with_packages(SUBBIT_BUILD_BENCHES "Build the benches" benchmark)
