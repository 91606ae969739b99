// The stored parts of a block, and the loop over them.
#pragma once

#include "model/norm.hpp"
#include "model/schema.hpp"

#include <subbit/recon/linear_layer.hpp>

#include <utility>

namespace llama {

using subbit::const_view;
using subbit::linear_layer;
using subbit::span_of;

template <class S, class Memory = subbit::host_memory>
struct block_weights {
    const block_schema* schema = nullptr;             ///< of the model's configuration, which must outlive the weights
    per_linear<linear_layer<S, Memory>> layers = {};  ///< (outputs, inputs) as in the schema
    per_norm<vector_in<S, Memory>> norms = {};        ///< empty but for those of the schema

    linear_layer<S, Memory>& at(const linear_spec& spec) { return layers[spec.id]; }
    const linear_layer<S, Memory>& at(const linear_spec& spec) const { return layers[spec.id]; }
    vector_in<S, Memory>& at(const norm_spec& spec) { return norms[spec.id]; }
    const vector_in<S, Memory>& at(const norm_spec& spec) const { return norms[spec.id]; }

    /// Calls f(spec, part) for every linear layer, then for every norm; several functions share the two kinds of part.
    template <class... F>
    void visit(F&&... f) {
        visit_parts(*this, std::forward<F>(f)...);
    }
    template <class... F>
    void visit(F&&... f) const {
        visit_parts(*this, std::forward<F>(f)...);
    }

  private:
    template <class... F>
    struct overloaded : F... {
        using F::operator()...;
    };

    template <class Self, class... F>
    static void visit_parts(Self& self, F&&... f) {
        overloaded<std::remove_cvref_t<F>...> call{std::forward<F>(f)...};
        for (const auto& spec : self.schema->linears)
            call(spec, self.at(spec));
        for (const auto& spec : self.schema->norms)
            call(spec, self.at(spec));
    }
};

/// Weights moved into the backend's memory, and as the host can read them (subbit::on_host).
template <class B, class S>
block_weights<S, memory_of<B>> upload(const B& b, block_weights<S> host) {
    block_weights<S, memory_of<B>> result{host.schema};
    result.visit([&](const auto& spec, auto& part) { part = subbit::upload(b, std::move(host.at(spec))); });
    return result;
}
template <device_backend B, class S>
block_weights<S> do_download(subbit::backend_tag, const B& b, const block_weights<S, B>& weights) {
    block_weights<S> result{weights.schema};
    result.visit([&](const auto& spec, auto& part) { part = subbit::on_host(b, weights.at(spec)); });
    return result;
}

}  // namespace llama
