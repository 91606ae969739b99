// Prefetching for kernels that read several rows of a matrix side by side, column by column, on x86.
#pragma once

#include <subbit/backend/cpu/kernels/intrinsics.hpp>
#include <subbit/backend/cpu/processor.hpp>
#include <subbit/core/matrix.hpp>

#if SUBBIT_X86
namespace subbit::cpu_kernels {

/// Asks for lines of 64 bytes that a kernel is going to read.
///
/// A processor follows a row by itself, but stops at the end of a page, and several rows that it follows are too few to
/// hide the memory's latency. So it is asked for every line, some lines ahead in the order of reading: at the end of
/// the rows that is in the rows that come next. Further ahead within long rows would be among the other rows that are
/// being read. On AMD's processors before Zen 5 it is enough to ask for some lines two pages ahead, and more would cost
/// time. Short rows end before they are recognized, so every line is prefetched, far enough ahead to be beyond all rows
/// that are being read, possibly in the next matrix.
class line_prefetch {
  public:
    /// For `rows` rows of `lines` lines each, one after the other in memory.
    line_prefetch(index lines, index rows) {
        const rule& here = of_this_processor();
        if (lines < here.long_row) {
            far_ = 320 * line;
        } else if (here.ahead > 0) {
            near_ = here.ahead * line;
            far_ = near_ + (rows - 1) * lines * line;
            near_end_ = lines - here.ahead;
        } else {
            far_ = 128 * line;
            mask_ = 7;
        }
    }

    /// While line `c` of a row, at `now`, is read.
    [[gnu::always_inline]] inline void operator()(const void* now, index c) const {
        if (c < near_end_)
            _mm_prefetch(static_cast<const char*>(now) + near_, _MM_HINT_T0);
        else if ((c & mask_) == 0)
            _mm_prefetch(static_cast<const char*>(now) + far_, _MM_HINT_T1);
    }

  private:
    static constexpr index line = 64;

    /// In lines: the length from which a row is long, and how far ahead a long row is asked for (0: see above).
    struct rule {
        index long_row, ahead;
    };

    index near_ = 0, near_end_ = 0;  ///< bytes ahead of a line, in the columns before near_end_
    index far_ = 0, mask_ = 0;       ///< bytes ahead of it, in those of the others of which (c & mask_) == 0

    /// As measured on Ice Lake, Zen 5 and Zen 4 (bench/RESULTS.md).
    static const rule& of_this_processor() {
        static const rule here = this_processor() == processor::intel           ? rule{32, 12}
                                 : this_processor() == processor::zen5_or_later ? rule{64, 24}
                                                                                : rule{64, 0};
        return here;
    }
};

}  // namespace subbit::cpu_kernels

#endif
