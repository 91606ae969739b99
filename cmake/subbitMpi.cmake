# subbit::mpi, what a file that includes <subbit/distribute/mpi.hpp> is compiled and linked with: OpenMPI, MPICH, or another.
find_package(MPI REQUIRED COMPONENTS CXX)
add_library(subbit::mpi INTERFACE IMPORTED GLOBAL)
target_link_libraries(subbit::mpi INTERFACE subbit::subbit MPI::MPI_CXX)
# MPI's own header has C++ bindings that no one uses since 2009, and that compilers warn of.
target_compile_definitions(subbit::mpi INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
