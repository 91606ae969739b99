// Low-rank binary layers in files.
#include "../support/strided.hpp"
#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <subbit/io/packed_layer.hpp>

#include <doctest/doctest.h>
#include <limits>

namespace subbit::testing {
namespace {

low_rank_binary_linear<float> some_layer(bool mid, bool bias) {
    low_rank_binary_linear<float> layer;
    layer.U = bit_matrix::pack(random_matrix<float>(19, 9, 1));
    layer.V = bit_matrix::pack(random_matrix<float>(9, 40, 2));
    layer.s_post = random_matrix<float>(19, 1, 3);
    layer.s_pre = random_matrix<float>(40, 1, 4);
    if (mid) layer.s_mid = random_matrix<float>(9, 1, 5);
    if (bias) layer.bias = random_matrix<float>(19, 1, 6);
    return layer;
}

/// Writes the layer "q" but for the tensor `left_out`, with `rank` in the metadata, and reads it again.
low_rank_binary_linear<float> read_edited(const std::string& left_out, const char* rank,
                                          std::uint32_t flipped_bits = 0) {
    const temporary_directory directory;
    auto layer = some_layer(true, true);
    round_scales(layer, "q");
    safetensors_writer whole, edited;
    add_packed_layer(whole, "q", layer);
    whole.write(directory / "whole.safetensors");
    const safetensors_reader source(directory / "whole.safetensors");
    for (const auto& name : source.names()) {
        if (name == left_out) continue;
        const auto& info = source.info(name);
        std::vector<std::byte> bytes(info.bytes.begin(), info.bytes.end());
        if (name == "q.U") bytes[3] ^= static_cast<std::byte>(flipped_bits);  // columns 24 to 31 of row 0, all padding
        edited.add_bytes(name, info.type, info.shape, bytes);
    }
    if (rank) edited.metadata("q.rank", rank);
    edited.write(directory / "edited.safetensors");
    return read_packed_layer<float>(safetensors_reader(directory / "edited.safetensors"), "q");
}

}  // namespace

TEST_CASE("a packed layer comes back bit for bit, with two or three scales, with or without a bias") {
    const temporary_directory directory;
    for (const bool mid : {false, true})
        for (const bool bias : {false, true}) {
            auto layer = some_layer(mid, bias);
            const auto before = layer;
            round_scales(layer, "q");
            CHECK((layer.s_post - before.s_post).cwiseQuotient(before.s_post).cwiseAbs().maxCoeff() < 0x1p-11F);
            safetensors_writer file;
            add_packed_layer(file, "q", layer);
            file.write(directory / "layer.safetensors");
            const safetensors_reader reader(directory / "layer.safetensors");
            CHECK((holds_packed_layer(reader, "q") && !holds_packed_layer(reader, "k")));
            CHECK(packed_layer_tensors(reader, "q").size() == reader.names().size());
            CHECK(packed_layer_tensors(reader, "k").empty());
            const auto back = read_packed_layer<float>(reader, "q");
            CHECK(back.U == layer.U);
            CHECK(back.V == layer.V);
            CHECK(back.s_post == layer.s_post);
            CHECK(back.s_pre == layer.s_pre);
            CHECK(back.s_mid == layer.s_mid);
            CHECK(back.bias == layer.bias);
        }
}

TEST_CASE("scales on a grid come back as they were rounded, in a file of another version") {
    const temporary_directory directory;
    auto layer = some_layer(true, true);
    const auto before = layer;
    round_scales(layer, "q", scale_format::log8);
    CHECK((layer.s_pre - before.s_pre).norm() < 0.03F * before.s_pre.norm());
    CHECK(layer.s_pre != before.s_pre);
    residual_binary_linear<float> paths;
    paths.paths.assign(2, {layer.U, layer.s_post, before.s_pre.head(9)});
    round_scales(paths, "k", scale_format::log8);
    safetensors_writer file;
    add_packed_layer(file, "q", layer, scale_format::log8);
    add_packed_layer(file, "k", paths, scale_format::log8);
    file.write(directory / "layer.safetensors");
    const safetensors_reader reader(directory / "layer.safetensors");
    CHECK(reader.metadata().at(packed_format_key) == gridded_format_version);
    CHECK(reader.info("q.s_post").type == dtype::i8);
    CHECK(packed_layer_tensors(reader, "q").size() + packed_layer_tensors(reader, "k").size() == reader.names().size());
    for (const char* name : {"q", "k"})
        CHECK(stored_scales(reader, name) == scale_format::log8);
    const auto back = read_packed_layer<float>(reader, "q");
    CHECK(back.s_post == layer.s_post);
    CHECK(back.s_pre == layer.s_pre);
    CHECK(back.s_mid == layer.s_mid);
    const auto residual = read_residual_layer<float>(reader, "k");
    CHECK(residual.paths[1].s_post == paths.paths[1].s_post);
    CHECK(residual.paths[1].s_pre == paths.paths[1].s_pre);
    CHECK(back.storage_bits(scale_format::log8) == 9 * (19 + 40) + 8 * (19 + 40 + 9) + 3 * 64);
    CHECK(residual.storage_bits(scale_format::log8) == 2 * (19 * 9 + 8 * (19 + 9) + 2 * 64));
}

TEST_CASE("a grid that is none is refused") {
    const temporary_directory directory;
    safetensors_writer whole;
    add_packed_layer(whole, "q", some_layer(false, false), scale_format::log8);
    whole.write(directory / "whole.safetensors");
    const safetensors_reader sound(directory / "whole.safetensors");
    const auto read_with_grid = [&](std::vector<float> grid) {
        safetensors_writer edited;
        for (const auto& name : sound.names())
            if (name != "q.s_pre_grid")
                edited.add_bytes(name, sound.info(name).type, sound.info(name).shape,
                                 {sound.info(name).bytes.begin(), sound.info(name).bytes.end()});
        if (!grid.empty()) edited.add("q.s_pre_grid", {std::ssize(grid)}, std::span<const float>(grid));
        edited.metadata("q.rank", "9");
        edited.write(directory / "edited.safetensors");
        return read_packed_layer<float>(safetensors_reader(directory / "edited.safetensors"), "q");
    };
    CHECK_NOTHROW(read_with_grid({1, 0.9F}));
    for (const auto& grid : {std::vector<float>{-1, 0.9F}, {1, 0}, {1, 1.1F}, {1, std::nanf("")}, {}})
        check_throws<format_error>([&] { read_with_grid(grid); }, {"q.s_pre_grid"});
    check_throws<shape_error>([&] { read_with_grid({1}); }, {"q.s_pre_grid"});
}

TEST_CASE("a file has the latest version of its layers, and codes beyond a grid are refused") {
    const temporary_directory directory;
    safetensors_writer file, edited;
    add_packed_layer(file, "a", some_layer(false, false), scale_format::log8);
    add_packed_layer(file, "b", some_layer(false, false), scale_format::f16);
    file.write(directory / "both.safetensors");
    const safetensors_reader both(directory / "both.safetensors");
    CHECK(both.metadata().at(packed_format_key) == gridded_format_version);
    CHECK(stored_scales(both, "b") == scale_format::f16);
    for (const auto& name : both.names()) {
        std::vector<std::byte> bytes(both.info(name).bytes.begin(), both.info(name).bytes.end());
        if (name == "a.s_pre") bytes[3] = std::byte{0x80};
        edited.add_bytes(name, both.info(name).type, both.info(name).shape, bytes);
    }
    edited.metadata("a.rank", "9");
    edited.write(directory / "edited.safetensors");
    check_throws<format_error>(
        [&] { read_packed_layer<float>(safetensors_reader(directory / "edited.safetensors"), "a"); },
        {"a.s_pre", "-128 at 3"});
}

TEST_CASE("files that do not hold what they promise name the tensor") {
    CHECK_NOTHROW(read_edited("", "9"));
    for (const char* missing : {"q.U", "q.V", "q.s_post", "q.s_pre"})
        check_throws<format_error>([&] { read_edited(missing, "9"); }, {missing});
    check_throws<format_error>([] { read_edited("", nullptr); }, {"q.U", "rank"});
    for (const char* rank : {"", "0", "-9", "nine", "9.5", "9 ", "99999999999999999999"})
        check_throws<format_error>([&] { read_edited("", rank); }, {"q.U", "rank"});
    for (const char* rank : {"305", "1000000", "9223372036854775807"})
        check_throws<format_error>([&] { read_edited("", rank); }, {"q.U", rank, "19x40", "at most 304"});
    check_throws<shape_error>([] { read_edited("", "10"); }, {"q.s_mid"});
    check_throws<format_error>([] { read_edited("", "9", 0x80); }, {"q.U", "padding"});
}

TEST_CASE("scales beyond 16-bit floats are refused") {
    auto layer = some_layer(false, false);
    layer.s_pre(3) = 1e6F;
    check_throws<value_error>([&] { round_scales(layer, "q_proj"); }, {"q_proj"});
    layer.s_pre(3) = std::numeric_limits<float>::quiet_NaN();
    check_throws<value_error>([&] { round_scales(layer, "q_proj"); }, {"q_proj"});
}

TEST_CASE("a layer that a file cannot hold is refused before anything is added") {
    safetensors_writer file;
    const auto refuse = [&](const auto& layer, const std::string& tensor, const std::string& place) {
        check_throws<value_error>([&] { add_packed_layer(file, "q", layer); }, {"\"" + tensor + "\"", place});
    };
    auto layer = some_layer(true, true);
    layer.s_pre(3) = 65520.0F;  // the least that rounds to infinity
    refuse(layer, "q.s_pre", "(40 entries) is 65520.000000 at 3, expected a finite number that F16 holds");
    layer.s_pre(3) = 65519.0F;
    layer.s_mid(8) = -1e6F;
    refuse(layer, "q.s_mid", "is -1000000.000000 at 8");
    layer.s_mid(8) = 1.0F;
    layer.s_post(0) = std::numeric_limits<float>::quiet_NaN();
    refuse(layer, "q.s_post", "nan at 0");
    layer.s_post(0) = 1.0F;
    layer.bias(18) = std::numeric_limits<float>::infinity();
    refuse(layer, "q.bias", "inf at 18");
    layer.bias(18) = 1e38F;
    residual_binary_linear<float> paths;
    paths.paths.assign(2, {bit_matrix(3, 2), vector<float>::Ones(3), vector<float>::Ones(2)});
    paths.paths[1].s_pre(1) = 1e6F;
    refuse(paths, "q.path1.s_pre", "at 1");
    CHECK_NOTHROW(add_packed_layer(file, "q", layer));  // so none of its names is taken
    paths.paths[1].s_pre(1) = 1.0F;
    CHECK_NOTHROW(add_packed_layer(file, "q", paths));
}

TEST_CASE("scales in a file that are not finite are refused") {
    const temporary_directory directory;
    safetensors_writer whole, edited;
    add_packed_layer(whole, "q", some_layer(false, false));
    whole.write(directory / "whole.safetensors");
    const safetensors_reader sound(directory / "whole.safetensors");
    for (const auto& name : sound.names()) {
        const auto& info = sound.info(name);
        std::vector<std::byte> bytes(info.bytes.begin(), info.bytes.end());
        if (name == "q.s_pre") bytes[7] = std::byte{0x7c};  // the upper half of entry 3: an exponent of all ones
        edited.add_bytes(name, info.type, info.shape, bytes);
    }
    edited.metadata("q.rank", "9");
    edited.write(directory / "q.safetensors");
    const safetensors_reader source(directory / "q.safetensors");
    check_throws<format_error>([&] { read_packed_layer<float>(source, "q"); }, {"q.s_pre", "not finite at 3"});
}

TEST_CASE("products straight from a mapped file") {
    const temporary_directory directory;
    const auto layer = some_layer(false, false);
    safetensors_writer file;
    add_packed_layer(file, "q", layer);
    file.write(directory / "layer.safetensors");
    const safetensors_reader reader(directory / "layer.safetensors");
    const bit_view signs = bit_view::over(reader.raw<std::uint32_t>("q.V"), 9, 40);
    const auto X = random_matrix<float>(3, 40, 7);
    for (const isa i : runnable_isas()) {
        matrix<float> mapped(3, 9), owned(3, 9);
        gemm(make_cpu(i), X, signs.t(), mapped);
        gemm(make_cpu(i), X, layer.V.t(), owned);
        CHECK(mapped == owned);
    }
}

namespace {

residual_binary_linear<float> some_paths(std::uint64_t count, bool bias) {
    residual_binary_linear<float> layer;
    for (std::uint64_t p = 0; p < count; ++p)
        layer.paths.push_back({bit_matrix::pack(random_matrix<float>(19, 40, 10 * p + 1)),
                               random_matrix<float>(19, 1, 10 * p + 2), random_matrix<float>(40, 1, 10 * p + 3)});
    if (bias) layer.bias = random_matrix<float>(19, 1, 6);
    return layer;
}

}  // namespace

TEST_CASE("a residual layer comes back bit for bit, with 1 to 4 paths, with or without a bias") {
    const temporary_directory directory;
    for (std::uint64_t count = 1; count <= 4; ++count) {
        auto layer = some_paths(count, count % 2 == 0);
        round_scales(layer, "q");
        safetensors_writer file;
        add_packed_layer(file, "q", layer);
        file.write(directory / "layer.safetensors");
        const safetensors_reader reader(directory / "layer.safetensors");
        CHECK((holds_residual_layer(reader, "q") && !holds_packed_layer(reader, "q")));
        CHECK(packed_layer_tensors(reader, "q").size() == reader.names().size());
        const auto back = read_residual_layer<float>(reader, "q");
        REQUIRE(back.paths.size() == count);
        for (std::size_t p = 0; p < count; ++p) {
            CHECK(back.paths[p].B == layer.paths[p].B);
            CHECK(back.paths[p].s_post == layer.paths[p].s_post);
            CHECK(back.paths[p].s_pre == layer.paths[p].s_pre);
        }
        CHECK(back.bias == layer.bias);
    }
}

TEST_CASE("files of residual layers that do not hold what they promise name the tensor") {
    const temporary_directory directory;
    const auto read_edited = [&](const std::string& left_out, const char* paths) {
        safetensors_writer whole, edited;
        add_packed_layer(whole, "q", some_paths(2, true));
        whole.write(directory / "whole.safetensors");
        const safetensors_reader source(directory / "whole.safetensors");
        for (const auto& name : source.names()) {
            const auto& info = source.info(name);
            if (name != left_out) edited.add_bytes(name, info.type, info.shape, {info.bytes.begin(), info.bytes.end()});
        }
        if (paths) edited.metadata("q.paths", paths);
        edited.write(directory / "edited.safetensors");
        return read_residual_layer<float>(safetensors_reader(directory / "edited.safetensors"), "q");
    };
    CHECK_NOTHROW(read_edited("", "2"));
    for (const char* missing : {"q.path0.B", "q.path1.B", "q.path1.s_post", "q.path0.s_pre"})
        check_throws<format_error>([&] { read_edited(missing, "2"); }, {missing});
    check_throws<format_error>([&] { read_edited("", nullptr); }, {"q.path0.B", "paths"});
    for (const char* paths : {"", "0", "-1", "two", "5", "99999999999999999999"})
        check_throws<format_error>([&] { read_edited("", paths); }, {"q.path0.B", "paths"});
    check_throws<format_error>([&] { read_edited("", "3"); }, {"q.path2"});
    auto layer = some_paths(2, false);
    layer.paths[1].s_pre(3) = 1e6F;
    check_throws<value_error>([&] { round_scales(layer, "q_proj"); }, {"q_proj"});
}

}  // namespace subbit::testing
