#include <subbit/backend/reference.hpp>
#include <subbit/recon/layer_bytes.hpp>
#include <subbit/recon/tuning.hpp>

#include "../support/thread_ranks.hpp"

#include <doctest/doctest.h>

namespace subbit::testing {
namespace {

const reference<float> host;

matrix<float> normal(index rows, index cols, std::uint64_t seed) {
    matrix<float> X(rows, cols);
    fill_normal(host, random_stream(seed), X);
    return X;
}

/// Two matrices, of which two parameters share a gradient, and a vector.
struct three_parameters {
    matrix<float> A = normal(5, 4, 1), B = normal(5, 4, 2), C = normal(3, 7, 3);
    matrix<float> d_AB = normal(5, 4, 4), d_C = normal(3, 7, 5);
    vector<float> v = normal(6, 1, 6), d_v = normal(6, 1, 7);
    bit_matrix signs = bit_matrix::pack(C);

    std::vector<parameter<float>> list() {
        std::vector<parameter<float>> all{matrix_parameter("A", parameter_kind::latent, A, d_AB),
                                          matrix_parameter("B", parameter_kind::latent, B, d_AB),
                                          {"v", parameter_kind::scale, span_of(v), span_of(d_v)},
                                          matrix_parameter("C", parameter_kind::latent, C, d_C)};
        all.back().signs = signs.words();
        return all;
    }
    void make_gradients(std::uint64_t term) {
        // In place: the parameters refer to this memory.
        fill_normal(host, random_stream(100 * term + 11), d_AB);
        fill_normal(host, random_stream(100 * term + 12), d_C);
        fill_normal(host, random_stream(100 * term + 13), d_v);
    }
    std::vector<float> values() const {
        std::vector<float> all;
        for (const auto* m : {&A, &B, &C})
            all.insert(all.end(), m->data(), m->data() + m->size());
        all.insert(all.end(), v.begin(), v.end());
        return all;
    }
};

constexpr index windows_of_a_step = 5;

/// A step that sends the values of all parameters, or of C the signs alone.
void step(tuner<float>& tune, three_parameters& p, std::uint64_t number, const communicator& me, bool signs_alone) {
    const unit_range mine = terms_of(windows_of_a_step, me.size(), me.rank());
    for (index k = mine.first; k < mine.last; ++k) {
        p.make_gradients(10 * number + static_cast<std::uint64_t>(k));
        tune.gather(host, k - mine.first, mine.count());
    }
    if (!signs_alone) return tune.step(host, windows_of_a_step);
    repeated_work<reference<float>> recorded;
    tune.next_step(host, windows_of_a_step);
    tune.finish_step(host, recorded, [&] { take_bits(host, p.C, p.signs); });
}

struct outcome {
    std::vector<float> values;
    std::vector<moment_pair<float>> moments;
    std::vector<double> peaks;
    bit_matrix signs, signs_of_latents;  // of C after the last step: as it has them, and as its latents have them
};

}  // namespace

TEST_CASE("steps move parameters to the same bits on any number of ranks, and resume on another") {
    for (const bool signs_alone : {false, true})
        for (const auto matrices : {matrix_optimizer::adamw, matrix_optimizer::muon}) {
            CAPTURE(signs_alone);
            // Large steps to the end: many signs flip in the last one.
            phase_options options{.latents = learning_rate::share_of_magnitude(0.5),
                                  .scales = learning_rate::absolute(0.01),
                                  .final_fraction = 1};
            options.matrices = matrices;
            const auto run = [&](int ranks, const outcome* from, std::uint64_t first, std::uint64_t last) {
                return on_ranks(ranks, [&](const communicator& me) {
                    three_parameters p;
                    tuner<float> tune(host, p.list(), options, 6, me);
                    if (from) {
                        const auto* values = from->values.data();
                        for (auto* m : {&p.A, &p.B, &p.C})
                            std::copy_n(values, m->size(), m->data()), values += m->size();
                        std::copy_n(values, p.v.size(), p.v.data());
                        tune.restore(host, first, from->moments, from->peaks);
                    }
                    for (std::uint64_t k = first; k < last; ++k)
                        step(tune, p, k, me, signs_alone);
                    const bit_matrix signs = p.signs, signs_of_latents = bit_matrix::pack(p.C);
                    tune.share_latents(host);
                    return outcome{p.values(), tune.moments(host), tune.peaks(), signs, signs_of_latents};
                });
            };
            const auto alone = run(1, nullptr, 0, 6).front();
            for (const int ranks : {2, 3, 4, 7}) {
                CAPTURE(ranks);
                index with_old_latents = 0;
                for (const auto& rank : run(ranks, nullptr, 0, 6)) {
                    CHECK(rank.values == alone.values);
                    if (signs_alone) CHECK(rank.signs == alone.signs_of_latents);
                    if (rank.signs_of_latents != alone.signs_of_latents) ++with_old_latents;
                }
                CHECK(with_old_latents == (signs_alone ? ranks - 1 : 0));
                const auto half = run(ranks, nullptr, 0, 3);
                CHECK(run(ranks == 3 ? 2 : 3, &half.front(), 3, 6).back().values == alone.values);
            }
        }
}

TEST_CASE("a compressed layer arrives as it was sent") {
    binary_linear<float> binary;
    binary.U_latent = normal(9, 5, 20);
    binary.V_latent = normal(5, 40, 21);
    binary.layer.U = bit_matrix::pack(binary.U_latent);
    binary.layer.V = bit_matrix::pack(binary.V_latent);
    binary.layer.s_post = normal(9, 1, 22);
    binary.layer.s_pre = normal(40, 1, 23);
    binary.estimator = straight_through::clipped;
    residual_linear<float> residual;
    for (std::uint64_t p = 0; p < 2; ++p)
        residual.layer.paths.push_back(
            {bit_matrix::pack(normal(9, 40, 30 + p)), normal(9, 1, 32 + p), normal(40, 1, 34 + p)});
    residual.latents.push_back(normal(9, 40, 36));
    byte_writer to;
    put(to, linear_layer<float>(binary));
    put(to, linear_layer<float>(residual));
    byte_reader from(to.bytes());
    linear_layer<float> first, second;
    get(from, first);
    get(from, second);
    const auto& b = first.binary();
    CHECK((b.layer.U == binary.layer.U && b.layer.V == binary.layer.V));
    CHECK((b.layer.s_post == binary.layer.s_post && b.layer.s_pre == binary.layer.s_pre && !b.layer.has_mid()));
    CHECK((b.U_latent == binary.U_latent && b.V_latent == binary.V_latent));
    CHECK(b.estimator == straight_through::clipped);
    const auto& r = second.residual();
    REQUIRE(r.layer.paths.size() == 2);
    CHECK((r.layer.paths[1].B == residual.layer.paths[1].B && r.layer.paths[1].s_pre == residual.layer.paths[1].s_pre));
    CHECK((r.latents.size() == 1 && r.latents[0] == residual.latents[0]));
    CHECK_THROWS_AS(put(to, linear_layer<float>(dense_linear<float>{})), value_error);
}

}  // namespace subbit::testing
