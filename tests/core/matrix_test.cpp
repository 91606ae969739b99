#include <subbit/core/matrix.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/core/types.hpp>

#include <doctest/doctest.h>
#include <limits>
#include <vector>

namespace subbit {
namespace {

/// Asks to stop after a number of steps, and keeps what it was told.
struct counting_progress : progress {
    std::size_t stop_after = 100, steps = 0, total = 0;
    std::string what;
    double loss = 0;
    void step(std::string_view w, std::size_t done, std::size_t all, double l) override {
        what = w, steps = done, total = all, loss = l;
    }
    bool cancelled() const override { return steps >= stop_after; }
};

}  // namespace

TEST_CASE("views: transposes, blocks and rows share the memory") {
    matrix<double> m(3, 4);
    for (index i = 0; i < m.size(); ++i)
        m.data()[i] = static_cast<double>(i);
    const auto v = view(m);
    CHECK((v.rows == 3 && v.cols == 4 && v.size() == 12 && v.is_contiguous() && v.is_row_major()));
    CHECK(v(1, 2) == 6);
    CHECK(v.t()(2, 1) == 6);
    CHECK(!v.t().is_row_major());
    const auto block = v.block(1, 1, 2, 3);
    CHECK((block(0, 0) == 5 && block(1, 2) == 11 && !block.is_contiguous()));
    CHECK(v.middle_rows(2, 1)(0, 3) == 11);
    CHECK(v.middle_rows(2, 1).is_contiguous());
    CHECK(v.middle_cols(3, 1).t()(0, 1) == 7);
    CHECK(as_eigen(v.t()) == m.transpose());
    as_eigen(block).setZero();
    CHECK(m.bottomRightCorner(2, 3).isZero());
    CHECK(m(1, 0) == 4);
    const matrix_view<const double> read_only = v;
    CHECK(read_only.data == m.data());
    CHECK(matrix_view<double>().size() == 0);
}

TEST_CASE("a view of nothing has rows and blocks, in any layout") {
    const matrix_view<double> no_columns(nullptr, 3, 0, 5), no_rows(nullptr, 0, 4, 4);
    CHECK(no_columns.row(2) == nullptr);
    CHECK((no_columns.middle_rows(1, 2).data == nullptr && no_columns.middle_rows(1, 2).rows == 2));
    CHECK((no_rows.middle_cols(2, 1).data == nullptr && no_rows.t().block(2, 0, 1, 0).rows == 1));
}

TEST_CASE("views of column-major matrices, vectors and spans") {
    const Eigen::MatrixXd columns = Eigen::MatrixXd::Random(3, 5);
    CHECK(as_eigen(view(columns)) == columns);
    vector<float> v(3);
    v << 1, 2, 3;
    CHECK((view(v).rows == 3 && view(v).cols == 1 && view(v)(2, 0) == 3));
    span_of(v)[1] = 7;
    CHECK(v(1) == 7);
}

TEST_CASE("sign takes zero for positive and NaN for negative") {
    CHECK(sign(0.0) == 1.0);
    CHECK(sign(-0.0) == 1.0);
    CHECK(sign(-1e-300) == -1.0);
    CHECK(sign(std::numeric_limits<float>::quiet_NaN()) == -1.0F);
}

TEST_CASE("messages name the shapes") {
    CHECK_THROWS_WITH_AS(require_shape("W", 3, 5, 4, 5), "W is 3x5, expected 4x5", shape_error);
    CHECK_THROWS_WITH_AS(require_size("s_pre", 3, 4), "s_pre has 3 entries, expected 4", shape_error);
    CHECK_NOTHROW(require_shape("W", 3, 5, 3, 5));
}

TEST_CASE("a step is told, and a watcher that asks to stop ends the work") {
    counting_progress watcher;
    watcher.stop_after = 2;
    report_step(watcher, "tune", 1, 5, 0.5);
    CHECK((watcher.what == "tune" && watcher.steps == 1 && watcher.total == 5 && watcher.loss == 0.5));
    CHECK_THROWS_WITH_AS(report_step(watcher, "tune", 2, 5, 0.4), "tune: stopped on request", cancelled_error);
    progress silent;
    CHECK_NOTHROW(report_step(silent, "tune", 1, 1, -1));
}

}  // namespace subbit
