# subbit::cuda, what a file that includes <subbit/backend/cuda.cuh> is compiled and linked with. The project's languages
# must have CUDA among them.
find_package(CUDAToolkit REQUIRED)
add_library(subbit::cuda INTERFACE IMPORTED GLOBAL)
target_link_libraries(subbit::cuda INTERFACE subbit::subbit CUDA::cudart_static CUDA::cublas CUDA::cusolver)
# Views and the packed layout are constexpr functions; Eigen is for the host alone. CMake 3.25 does not know that nvcc has
# C++20, so that a compile feature would be refused. nvcc warns of a conversion that a requires-clause rules out (554), of
# a register that is filled through a pointer (549), and of hints to GCC's loops (1675). The host's loops say `#pragma omp simd`.
target_compile_options(subbit::cuda INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:-std=c++20;--expt-relaxed-constexpr;-diag-suppress=549,554,1675;-Xcompiler=-fopenmp-simd>")
target_compile_definitions(subbit::cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:EIGEN_NO_CUDA>)
