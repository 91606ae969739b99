# Whether there is a subbit::cuda (cmake/subbitCuda.cmake), and which GPUs this project's own programs are compiled for.

# The architecture of this machine's first GPU, if it is an A100's or newer and nvcc knows it. Without one: machine code for H100 and H200, and PTX, from which the driver
# makes the code of every other GPU since A100 when a program first runs there. Only sm_90a has the products of warpgroups,
# which `native` would leave out.
function(subbit_choose_cuda_architectures result)
  execute_process(COMMAND nvidia-smi --id=0 --query-gpu=compute_cap --format=csv,noheader
                  OUTPUT_VARIABLE capability RESULT_VARIABLE status ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  set(architecture 0)
  if(status EQUAL 0 AND capability MATCHES "^([0-9]+)\\.([0-9]+)$")
    set(architecture ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
  endif()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known ERROR_QUIET)
  if(architecture GREATER_EQUAL 80 AND known MATCHES "compute_${architecture}")
    if(architecture EQUAL 90)
      set(architecture 90a)
    endif()
    set(${result} ${architecture}-real PARENT_SCOPE)
  else()
    set(${result} 90a-real 80-virtual PARENT_SCOPE)
  endif()
endfunction()

set(with_cuda ${SUBBIT_WITH_CUDA})
if(with_cuda STREQUAL AUTO)
  set(with_cuda OFF)
  if(PROJECT_IS_TOP_LEVEL)
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      set(with_cuda ON)
    endif()
  endif()
endif()

if(with_cuda)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    subbit_choose_cuda_architectures(CMAKE_CUDA_ARCHITECTURES)
    message(STATUS "CUDA architectures: ${CMAKE_CUDA_ARCHITECTURES}")
  endif()
  enable_language(CUDA)
  include(cmake/subbitCuda.cmake)
endif()
