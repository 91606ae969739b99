// What two files of one program share.
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/core/matrix.hpp>

#if defined(SUBBIT_COMPILED)
#include <subbit/compiled.hpp>
#endif

/// Takes a matrix from one file, resizes it, and returns another.
subbit::matrix<double> work(subbit::matrix<double>& from_main);
