// A plug-in with the library in it, as a Python module would be.
#include <subbit/io/packed_layer.hpp>
#include <subbit/io/safetensors.hpp>
#include <subbit/subbit.hpp>

#if defined(SUBBIT_COMPILED_IO) && defined(NLOHMANN_JSON_VERSION_MAJOR)
#error "a file that links subbit::compiled compiles the JSON library"
#endif

namespace sb = subbit;

/// The error of a matrix that was factorized, written to `path`, and read again; negative if the two layers differ.
extern "C" double store(const char* path) {
    const sb::cpu backend;
    sb::matrix<float> W(40, 24);
    sb::fill_normal(backend, sb::random_stream(3), W);
    const auto fit = sb::lb_admm(backend, W, {.rank = 8, .iterations = 20});
    auto layer = fit.pack();
    sb::round_scales(layer, "layer");
    sb::safetensors_writer file;
    sb::add_packed_layer(file, "layer", layer);
    file.write(path);
    const auto read = sb::read_packed_layer<float>(sb::safetensors_reader(path), "layer");
    return read.U == layer.U && read.V == layer.V && read.s_post == layer.s_post ? fit.error : -1;
}
