# subbit::compiled, for programs of many files: the header-only library, and the operations of its own backends compiled
# once, with LB-ADMM on them (backend/cpu/instances.hpp and compiled.hpp). Built only where something links it.
set(sources "")
set(bytes "SUBBIT_BYTE_INSTANCES()")  # in the first file
foreach(scalar float double)
  set(source ${PROJECT_BINARY_DIR}/instances_${scalar}.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT "#include <subbit/backend/cpu/instances.hpp>
#include <subbit/backend/cpu/kernels/product_kernels.hpp>
#include <subbit/backend/reference/eigen_decompositions.hpp>
#include <subbit/compiled.hpp>

namespace subbit {
SUBBIT_INSTANCES(, @scalar@)
SUBBIT_SOLVER_INSTANCES(, @scalar@)
@bytes@
}
")
  set(bytes "")
  list(APPEND sources ${source})
endforeach()
add_library(subbit_compiled STATIC EXCLUDE_FROM_ALL ${sources})
add_library(subbit::compiled ALIAS subbit_compiled)
target_compile_definitions(subbit_compiled PUBLIC SUBBIT_COMPILED)
target_link_libraries(subbit_compiled PUBLIC subbit PRIVATE subbit_developer)
# For shared libraries too, and optimized where the program around it is not: these loops are what takes time.
set_target_properties(subbit_compiled PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_compile_options(subbit_compiled PRIVATE $<$<NOT:$<CONFIG:Release,RelWithDebInfo,MinSizeRel>>:-O2>)
if(SUBBIT_SANITIZE)
  # Under the sanitizers optimizing triples the time to compile; it pays here, where the tests spend theirs.
  target_compile_options(subbit_compiled PRIVATE -O1)
endif()
