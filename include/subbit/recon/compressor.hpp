// How a block's dense layers are compressed: the part of a reconstruction that the user chooses. lb_compressor.hpp has
// one that is ready to use.
#pragma once

#include <subbit/recon/compressed_layer.hpp>

#include <concepts>
#include <memory>
#include <type_traits>

namespace subbit {

/// Compresses, measures and finishes the layers of one block, which are identified by number.
///
/// factorize(b, l, weight): runs the solver with its statistics and rank. The weight (m, n) is on the host; `b` is the
/// reconstruction's backend or another stream of its device, and several layers may be factorized at once, each on a
/// thread of its own. measure(b, l, layer): the present relative error of a layer, in the same metric. finish(b, l,
/// layer): completes a tuned layer, for instance by rounding its scales to what will be stored.
template <class C, class B, class S>
concept layer_compressor = requires(C& compressor, const B& b, index l, matrix_view<const S> weight,
                                    const linear_layer<S, memory_of<B>>& tuned, linear_layer<S, memory_of<B>>& layer) {
    { compressor.factorize(b, l, weight) } -> std::same_as<compressed_layer<S>>;
    { compressor.measure(b, l, tuned) } -> std::convertible_to<double>;
    compressor.finish(b, l, layer);
};

/// A reference to any layer_compressor, which must outlive it.
template <class B, class S>
class compressor_reference {
  public:
    using layer_type = linear_layer<S, memory_of<B>>;

    template <class C>
    requires(!std::same_as<std::remove_cvref_t<C>, compressor_reference> &&
             layer_compressor<std::remove_reference_t<C>, B, S>)  //
        compressor_reference(C&& compressor)
        : object_(std::addressof(compressor)),
          factorize_([](const void* o, const B& b, index l, matrix_view<const S> weight) {
              return get<C>(o).factorize(b, l, weight);
          }),
          measure_([](const void* o, const B& b, index l, const layer_type& layer) {
              return static_cast<double>(get<C>(o).measure(b, l, layer));
          }),
          finish_([](const void* o, const B& b, index l, layer_type& layer) { get<C>(o).finish(b, l, layer); }) {}

    compressed_layer<S> factorize(const B& b, index l, matrix_view<const S> weight) const {
        return factorize_(object_, b, l, weight);
    }
    double measure(const B& b, index l, const layer_type& layer) const { return measure_(object_, b, l, layer); }
    void finish(const B& b, index l, layer_type& layer) const { finish_(object_, b, l, layer); }

  private:
    /// The compressor with the constness with which it was given.
    template <class C>
    static std::remove_reference_t<C>& get(const void* object) {
        return *static_cast<std::remove_reference_t<C>*>(const_cast<void*>(object));
    }

    const void* object_;
    compressed_layer<S> (*factorize_)(const void*, const B&, index, matrix_view<const S>);
    double (*measure_)(const void*, const B&, index, const layer_type&);
    void (*finish_)(const void*, const B&, index, layer_type&);
};

}  // namespace subbit
