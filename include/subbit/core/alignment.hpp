// A link error where files of one program were compiled with different alignments of Eigen's memory.
//
// Eigen allocates by malloc where 16 bytes are enough, and in a way of its own where the file's -m flags ask for more
// (-mavx, -march=native). A linker takes any file's copy of an inline function, so with mixed flags memory of one kind
// would be freed as the other. So each file that includes this one brings a symbol, in a group that is named after its
// alignment: groups of one name are merged, those of two names both define the symbol. EIGEN_MAX_ALIGN_BYTES=64 gives
// all files one alignment, whatever their flags.
#pragma once

#include <Eigen/Core>

#if defined(__ELF__) && !defined(__CUDACC__)
#define SUBBIT_QUOTED_(x) #x
#define SUBBIT_QUOTED(x) SUBBIT_QUOTED_(x)
#define SUBBIT_ALIGNMENT SUBBIT_QUOTED(EIGEN_DEFAULT_ALIGN_BYTES) "_" SUBBIT_QUOTED(EIGEN_MALLOC_ALREADY_ALIGNED)

// Under link-time optimization the text of several files becomes one: there a group must not be written twice.
__asm__(".ifndef subbit_alignment_" SUBBIT_ALIGNMENT
        "\n"
        ".pushsection .rodata.subbit_alignment,\"aG\",%progbits,subbit_alignment_group_" SUBBIT_ALIGNMENT
        ",comdat\n"
        "subbit_alignment_" SUBBIT_ALIGNMENT
        ":\n"
        ".globl subbit_needs_EIGEN_MAX_ALIGN_BYTES_to_be_the_same_in_all_files\n"
        "subbit_needs_EIGEN_MAX_ALIGN_BYTES_to_be_the_same_in_all_files:\n"
        ".byte 0\n"
        ".popsection\n"
        ".endif\n");
#undef SUBBIT_ALIGNMENT
#endif
