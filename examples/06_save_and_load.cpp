// A factorized layer is written to a safetensors file, read back, and applied; docs/format.md describes the file.
#include <subbit/io/packed_layer.hpp>
#include <subbit/io/safetensors.hpp>
#include <subbit/subbit.hpp>

#include <cstdio>
#include <filesystem>

namespace sb = subbit;

/// The name of a file that is removed by the destructor.
struct temporary_file {
    std::filesystem::path path = std::filesystem::temp_directory_path() / "subbit_save_and_load.safetensors";
    ~temporary_file() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

int main() {
    const sb::index m = 192, n = 256;
    const sb::cpu b;
    sb::matrix<float> W(m, n);
    sb::fill_normal(b, sb::random_stream(1), W);
    const auto rank = sb::rank_for(sb::bits_per_weight{1.0}, m, n);
    auto layer = sb::lb_admm(b, W, {.rank = rank}).pack();
    layer.bias = sb::vector<float>::LinSpaced(m, -1.0F, 1.0F);
    sb::round_scales(layer, "layer");  // to the 16 bits of the file, so that reading gives the same layer

    const temporary_file file;
    sb::safetensors_writer writer;
    sb::add_packed_layer(writer, "layer", layer);
    writer.write(file.path);  // the file appears complete, by a rename, or not at all

    const sb::safetensors_reader reader(file.path);
    const auto loaded = sb::read_packed_layer<float>(reader, "layer");
    const auto bytes = std::filesystem::file_size(file.path);

    const sb::vector<float> x = sb::vector<float>::LinSpaced(n, -1.0F, 1.0F);
    sb::vector<float> y, y_loaded;
    layer.apply(b, x, y);
    loaded.apply(b, x, y_loaded);

    std::printf("%td x %td at rank %td: %ju bytes in the file, %td as 16-bit floats\n", m, n, rank,
                static_cast<std::uintmax_t>(bytes), 2 * m * n);
    const bool same = loaded.U == layer.U && loaded.V == layer.V && y == y_loaded;
    const bool small = bytes < static_cast<std::uintmax_t>(m * n) / 4;
    if (!same) std::fprintf(stderr, "check failed: the layer that was read is not the one that was written\n");
    if (!small) std::fprintf(stderr, "check failed: the file is larger than two bits per weight\n");
    return same && small ? 0 : 1;
}
