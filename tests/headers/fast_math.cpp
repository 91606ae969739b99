// What is not finite is refused under -ffast-math too; ends with the number of checks that let it pass.
#include <subbit/backend/reference.hpp>
#include <subbit/calib/moments.hpp>
#include <subbit/factor/dbf_admm.hpp>
#include <subbit/factor/lb_admm.hpp>
#include <subbit/factor/rank_budget.hpp>
#include <subbit/factor/residual_svid.hpp>
#include <subbit/io/packed_layer.hpp>

#include <bit>

namespace {

using matrix = subbit::matrix<float>;
using vector = subbit::vector<float>;

const subbit::reference<float> backend;
int passed = 0;

template <class Action>
void refuse(Action action) {
    try {
        action();
        ++passed;
    } catch (const subbit::value_error&) {
    }
}

}  // namespace

int main(int count, char**) {
    const matrix W = matrix::Constant(6, 5, 0.5F);
    const vector input = vector::Ones(5);
    for (const unsigned bits : {0x7fc00000u, 0x7f800000u, 0xff800000u}) {             // NaN and both infinities
        const float bad = std::bit_cast<float>(bits * static_cast<unsigned>(count));  // count is 1: nothing to foresee
        matrix broken = W;
        broken(3, 2) = bad;
        vector moments = input;
        moments(1) = bad;
        refuse([&] { subbit::lb_admm(backend, broken, {.rank = 2, .iterations = 2}); });
        refuse([&] { subbit::lb_admm(backend, W, {.rank = 2, .input = moments, .iterations = 2}); });
        refuse([&] { subbit::dbf_admm(backend, broken, {.rank = 2, .iterations = 2}); });
        refuse([&] { subbit::residual_svid(backend, broken, {}); });
        refuse([&] { subbit::rank_for(subbit::bits_per_weight{bad}, 6, 5); });
        refuse([&] { subbit::clipped_moments<float>(5).observe(backend, broken); });
        refuse([&] { subbit::clipped_moments<float>(5, {.scale = bad}); });
        subbit::low_rank_binary_linear<float> layer;
        layer.s_post = moments;
        subbit::safetensors_writer file;
        refuse([&] { subbit::add_packed_layer(file, "q", layer); });
        refuse([&] { subbit::round_scales(layer, "q"); });
    }
    const matrix start = matrix::Ones(6, 2), end = matrix::Ones(2, 5);
    subbit::lb_admm(backend, W,
                    {.rank = 2, .iterations = 2, .start_left = subbit::view(start), .start_right = subbit::view(end)});
    return passed;
}
