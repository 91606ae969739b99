#include "compress/ignored_options.hpp"

#include "compress/recipe.hpp"

namespace llama {

namespace {

/// When an option is used, and which options make it so.
struct use {
    const char* option;
    bool used;
    const char* by;
};

std::vector<use> uses_of(const compress_options& o) {
    const bool rabit = is_rabit(o), low_rank = !rabit;
    const auto solver = solver_of(o);
    const bool paper = low_rank && solver == solver_kind::paper,
               iterates = low_rank && solver != solver_kind::dual_svid;
    const bool layers = !is_joint(o), tunes_weights = layers && o.weight_epochs > 0;
    const bool tunes = o.epochs > 0, distills = o.distill_epochs > 0, more = o.distills_on_more();
    const bool moves_latents = distills && o.distill_latent_rate > 0;
    const char *const of_rabit = "--method rabit", *const of_low_rank = "--method nanoquant",
                      *const of_distillation = "a distillation (--distill-epochs above 0)";
    return {{"recipe", low_rank, of_low_rank},
            {"granularity", low_rank, of_low_rank},
            {"minimum-rank", low_rank, of_low_rank},
            {"scales", low_rank, of_low_rank},
            {"ranks", low_rank, of_low_rank},
            {"rank-tokens", measures_ranks(o), "--ranks model"},
            {"solver", low_rank, of_low_rank},
            {"refine", low_rank, of_low_rank},
            {"estimator", low_rank, of_low_rank},
            {"iterations", iterates, "--method nanoquant with a solver other than dual_svid"},
            {"solves", iterates, "--method nanoquant with a solver other than dual_svid"},
            {"schedule", paper, "--solver paper"},
            {"reg", paper, "--solver paper"},
            {"rounds", rabit, of_rabit},
            {"precondition", rabit, of_rabit},
            {"coupling", rabit, of_rabit},
            {"probe-steps", rabit && distills, "--method rabit with a distillation"},
            {"keep", o.clipping != "plain", "--clipping online and two_phase"},
            {"weight-epochs", layers, "--order layer"},
            {"weight-batch", tunes_weights, "--order layer with --weight-epochs above 0"},
            {"weight-rate", tunes_weights, "--order layer with --weight-epochs above 0"},
            {"batch", tunes, "--epochs above 0"},
            {"latent-rate", tunes, "--epochs above 0"},
            {"scale-rate", tunes, "--epochs above 0"},
            {"norm-rate", tunes, "--epochs above 0"},
            {"importance", tunes, "--epochs above 0"},
            {"final-fraction", tunes || tunes_weights, "--epochs above 0"},
            {"distill-text", more, "--distill-windows above 0"},
            {"distill-windows", distills, of_distillation},
            {"distill-window-tokens", more, "--distill-windows above 0"},
            {"distill-scale-rate", distills, of_distillation},
            {"distill-latent-rate", distills, of_distillation},
            {"distill-latent-margin", moves_latents, "--distill-latent-rate above 0"},
            {"distill-norm-rate", distills, of_distillation},
            {"distill-warmup", distills, of_distillation},
            {"distill-batch", distills, of_distillation},
            {"distill-label-share", distills, of_distillation},
            {"distill-hidden-weight", distills, of_distillation},
            {"matrix-optimizer", moves_latents, "--distill-latent-rate above 0"}};
}

}  // namespace

std::vector<std::string> ignored_options(const compress_options& options, const std::set<std::string>& given) {
    std::vector<std::string> sentences;
    for (const use& u : uses_of(options))
        if (given.contains(u.option) && !u.used)
            sentences.push_back("--" + std::string(u.option) + " has no effect here: only " + u.by + " uses it");
    return sentences;
}

}  // namespace llama
