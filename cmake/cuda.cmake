# subbit::cuda, what a file that includes <subbit/backend/cuda.cuh> is compiled and linked with; only where nvcc is found.
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
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 90)  # of the last one PTX as well, for what comes after it
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  add_library(subbit_cuda INTERFACE)
  add_library(subbit::cuda ALIAS subbit_cuda)
  target_link_libraries(subbit_cuda INTERFACE subbit CUDA::cudart_static CUDA::cublas CUDA::cusolver)
  # Views and the packed layout are constexpr functions; Eigen is for the host alone. CMake 3.25 does not know that nvcc has
  # C++20, so that a compile feature would be refused. nvcc warns of
  # a conversion that a requires-clause rules out (554).
  target_compile_options(subbit_cuda INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-diag-suppress=554>")
  target_compile_definitions(subbit_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:EIGEN_NO_CUDA>)
endif()
