# subbit::compiled, for programs of many files: the header-only library, and the operations of its own backends compiled
# once, with LB-ADMM on them (backend/cpu/instances.hpp and compiled.hpp) and, where nlohmann-json is there, what io reads
# and writes with it. Built only where something links it, or as the target subbit_compiled.
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
if(SUBBIT_WITH_JSON)
  set(source ${PROJECT_BINARY_DIR}/instances_io.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "#define SUBBIT_IO_INSTANCES\n#include <subbit/io/safetensors_json.hpp>\n")
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${SUBBIT_FUZZED_CODE}")
  list(APPEND sources ${source})
endif()
add_library(subbit_compiled STATIC EXCLUDE_FROM_ALL ${sources})
add_library(subbit::compiled ALIAS subbit_compiled)
target_compile_definitions(subbit_compiled PUBLIC SUBBIT_COMPILED)
if(SUBBIT_WITH_JSON)
  target_compile_definitions(subbit_compiled PUBLIC SUBBIT_COMPILED_IO)
endif()
target_link_libraries(subbit_compiled PUBLIC subbit PRIVATE $<BUILD_INTERFACE:subbit_developer>)
# For shared libraries too, and optimized where the program around it is not: these loops are what takes time.
set_target_properties(subbit_compiled PROPERTIES POSITION_INDEPENDENT_CODE ON EXPORT_NAME compiled)
if(SUBBIT_OPTIMIZE_COMPILED)
  target_compile_options(subbit_compiled PRIVATE $<$<NOT:$<CONFIG:Release,RelWithDebInfo,MinSizeRel>>:-O2>)
endif()
target_compile_options(subbit_compiled PRIVATE ${SUBBIT_HOT_CODE})

# subbit_compiled_gpu(target backend header extension): the operations of gpu_backend on one device, compiled once in the same
# way (backend/gpu/instances.hpp), a file for each scalar.
function(subbit_compiled_gpu target backend header extension)
  set(sources "")
  foreach(scalar float double)
    set(source ${PROJECT_BINARY_DIR}/${target}_${scalar}.${extension})
    file(CONFIGURE OUTPUT ${source} @ONLY CONTENT "#include <subbit/backend/@header@>

namespace subbit {
SUBBIT_GPU_INSTANCES(, @backend@, @scalar@)
}
")
    list(APPEND sources ${source})
  endforeach()
  add_library(${target} STATIC EXCLUDE_FROM_ALL ${sources})
  target_compile_definitions(${target} PUBLIC SUBBIT_COMPILED_GPU)
  target_link_libraries(${target} PUBLIC subbit_compiled PRIVATE subbit_developer)
endfunction()

if(TARGET subbit::cuda)
  subbit_compiled_gpu(subbit_compiled_cuda cuda cuda.cuh cu)
  target_link_libraries(subbit_compiled_cuda PUBLIC subbit::cuda)
endif()
