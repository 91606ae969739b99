// Round trips through safetensors files: every dtype, shapes, shards, metadata, and the reference files.
#include <subbit/io/safetensors.hpp>

#include "../support/reference.hpp"
#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

using namespace subbit;
using subbit::testing::check_throws;
using subbit::testing::temporary_directory;

namespace {

template <class T>
void check_round_trip(const temporary_directory& dir) {
    const std::vector<T> values = {T(0), T(1), std::numeric_limits<T>::max(), std::numeric_limits<T>::lowest(),
                                   T(7), T(9)};
    safetensors_writer writer;
    writer.add("x", {2, 3}, std::span(values));
    writer.write(dir / "x.safetensors");
    const safetensors_reader reader(dir / "x.safetensors");
    CHECK(reader.info("x").type == dtype_of<T>);
    CHECK(reader.info("x").shape == std::vector<subbit::index>{2, 3});
    const auto raw = reader.raw<T>("x");
    CHECK(std::vector<T>(raw.begin(), raw.end()) == values);
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("elements of every C++ type come back bit for bit") {
    const temporary_directory dir;
    check_round_trip<double>(dir);
    check_round_trip<float>(dir);
    check_round_trip<std::int64_t>(dir);
    check_round_trip<std::int32_t>(dir);
    check_round_trip<std::int16_t>(dir);
    check_round_trip<std::int8_t>(dir);
    check_round_trip<std::uint64_t>(dir);
    check_round_trip<std::uint32_t>(dir);
    check_round_trip<std::uint16_t>(dir);
    check_round_trip<std::uint8_t>(dir);
}

TEST_CASE("the table of dtypes is in the order of the enumeration") {
    for (std::size_t k = 0; k < detail::dtype_table.size(); ++k) {
        CHECK(static_cast<std::size_t>(detail::dtype_table[k].type) == k);
        const temporary_directory dir;
        safetensors_writer writer;
        const auto type = static_cast<dtype>(k);
        writer.add_bytes("x", type, {3}, std::vector<std::byte>(static_cast<std::size_t>(3 * size_of(type))));
        writer.write(dir / "x");
        CHECK(safetensors_reader(dir / "x").info("x").type == type);
    }
}

TEST_CASE("floats convert between every stored and every computing type") {
    const temporary_directory dir;
    const std::vector<double> values = {0.0, -0.0, 1.0, -2.5, 0.09375, 1e-3, 300.0, HUGE_VAL};
    for (const dtype type : {dtype::f64, dtype::f32, dtype::f16, dtype::bf16}) {
        CAPTURE(name_of(type));
        safetensors_writer writer;
        writer.add("x", {8}, std::span(values), type);
        writer.add("m", matrix_view<const double>(values.data(), 2, 4).t(), type);
        writer.write(dir / "x");
        const safetensors_reader reader(dir / "x");
        CHECK(reader.info("x").type == type);
        const vector<double> wide = reader.read_vector<double>("x");
        const vector<float> narrow = reader.read_vector<float>("x");
        const matrix<float> m = reader.read_matrix<float>("m");
        REQUIRE((m.rows() == 4 && m.cols() == 2));
        const double relative = type == dtype::f64   ? 0
                                : type == dtype::f32 ? 0x1p-24
                                : type == dtype::f16 ? 0x1p-11
                                                     : 0x1p-8;
        for (subbit::index k = 0; k < 8; ++k) {
            const double want = values[static_cast<std::size_t>(k)];
            CHECK((wide(k) == want || std::abs(wide(k) - want) <= relative * std::abs(want)));
            CHECK(narrow(k) == static_cast<float>(wide(k)));
            CHECK(std::signbit(narrow(k)) == std::signbit(want));
            CHECK(m(k % 4, k / 4) == narrow(k));
        }
    }
}

TEST_CASE("any collection of tensors comes back, aligned, whatever the order in which it was added") {
    const temporary_directory dir;
    CHECK(rc::check("round trip of random tensors", [&] {
        const auto shapes = *rc::gen::container<std::vector<std::tuple<int, int, int>>>(
            rc::gen::tuple(rc::gen::inRange(0, 13), rc::gen::inRange(0, 4), rc::gen::inRange(0, 5)));
        safetensors_writer writer;
        std::vector<std::vector<std::byte>> contents;
        for (const auto& [type, rows, cols] : shapes) {
            const auto size = static_cast<std::size_t>(rows * cols * size_of(static_cast<dtype>(type)));
            contents.push_back(*rc::gen::container<std::vector<std::byte>>(
                size, rc::gen::map(rc::gen::arbitrary<unsigned char>(), [](unsigned char b) { return std::byte(b); })));
            writer.add_bytes("t " + std::to_string(contents.size()), static_cast<dtype>(type), {rows, cols},
                             contents.back());
        }
        writer.write(dir / "x");
        const safetensors_reader reader(dir / "x");
        RC_ASSERT(reader.names().size() == shapes.size());
        for (std::size_t k = 0; k < shapes.size(); ++k) {
            const tensor_info& tensor = reader.info("t " + std::to_string(k + 1));
            const auto [type, rows, cols] = shapes[k];
            RC_ASSERT(tensor.type == static_cast<dtype>(type));
            RC_ASSERT((tensor.shape == std::vector<subbit::index>{rows, cols}));
            RC_ASSERT(text_of(tensor.bytes) == text_of(contents[k]));
            RC_ASSERT(reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) %
                          static_cast<std::size_t>(size_of(tensor.type)) ==
                      0);
        }
    }));
}

TEST_CASE("metadata, names that need escapes, scalars and empty tensors") {
    const temporary_directory dir;
    const std::vector<float> one = {4.0f};
    safetensors_writer writer;
    writer.metadata("format", "subbit");
    writer.metadata("quote \" and \xc3\xa9", "line\nbreak");
    writer.add("scalar", {}, std::span(one));
    writer.add("none", {0, 7}, std::span<const float>());
    writer.add("odd \"name\"\\\n\xe2\x82\xac", {1}, std::span(one));
    writer.write(dir / "x");
    const safetensors_reader reader(dir / "x");
    CHECK(reader.metadata().at("format") == "subbit");
    CHECK(reader.metadata().at("quote \" and \xc3\xa9") == "line\nbreak");
    CHECK(reader.info("scalar").shape.empty());
    CHECK(reader.raw<float>("scalar")[0] == 4.0f);
    CHECK(reader.read_matrix<double>("none").cols() == 7);
    CHECK(reader.contains("odd \"name\"\\\n\xe2\x82\xac"));
    CHECK_FALSE(reader.contains("odd"));
}

TEST_CASE("the header is padded to 8 bytes and the same calls give the same file") {
    const temporary_directory dir;
    const std::vector<std::uint8_t> bytes = {1, 2, 3};
    const std::vector<double> doubles = {1.5};
    for (const char* name : {"a", "b"}) {
        safetensors_writer writer;
        writer.metadata("k", "v");
        writer.add("bytes", {3}, std::span(bytes));
        writer.add("doubles", {1}, std::span(doubles));
        writer.write(dir / name);
    }
    const mapped_file a(dir / "a"), b(dir / "b");
    CHECK(text_of(a.bytes()) == text_of(b.bytes()));
    std::uint64_t header = 0;
    std::memcpy(&header, a.bytes().data(), sizeof header);
    CHECK(header % 8 == 0);
    // The wider elements come first, so that both tensors are aligned.
    CHECK(safetensors_reader(dir / "a").names() == std::vector<std::string>{"doubles", "bytes"});
}

TEST_CASE("tensors made on demand are made one by one, in the order of the file") {
    const temporary_directory dir;
    std::vector<int> made;
    safetensors_writer writer;
    for (int k = 0; k < 3; ++k)
        writer.add_lazily("t" + std::to_string(k), dtype::u8, {2}, [&made, k] {
            made.push_back(k);
            return std::vector<std::byte>(2, std::byte(k));
        });
    CHECK(made.empty());
    writer.write(dir / "x");
    CHECK(made == std::vector<int>{0, 1, 2});
    CHECK(safetensors_reader(dir / "x").raw<std::uint8_t>("t2")[1] == 2);
}

TEST_CASE("a maker that delivers too little, or fails, leaves no file") {
    const temporary_directory dir;
    safetensors_writer writer;
    writer.add_lazily("short", dtype::f32, {2}, [] { return std::vector<std::byte>(7); });
    check_throws<shape_error>([&] { writer.write(dir / "x"); }, {"short", "7 bytes"});
    CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("the writer refuses what no reader would take") {
    safetensors_writer writer;
    const std::vector<float> two = {1, 2};
    writer.add("x", {2}, std::span(two));
    check_throws<value_error>([&] { writer.add("x", {2}, std::span(two)); }, {"\"x\"", "taken"});
    check_throws<value_error>([&] { writer.add("__metadata__", {2}, std::span(two)); }, {"__metadata__"});
    check_throws<shape_error>([&] { writer.add("y", {3}, std::span(two)); }, {"\"y\"", "F32", "3", "8 bytes"});
    check_throws<shape_error>([&] { writer.add("z", {-1, -2}, std::span(two)); }, {"\"z\"", "-1x-2"});
    check_throws<shape_error>(
        [&] {
            writer.add_lazily("w", dtype::f64, {subbit::index{1} << 40, subbit::index{1} << 40}, {});
        },
        {"\"w\""});
    check_throws<value_error>([&] { writer.add("i", {2}, std::span(two), dtype::i32); }, {"I32"});
    const temporary_directory dir;
    writer.add("\xff", {2}, std::span(two));
    check_throws<value_error>([&] { writer.write(dir / "x"); }, {"UTF-8"});
    CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("a sharded model reads as one; the index decides which shard a name is read from") {
    const temporary_directory dir;
    const std::vector<float> one = {1}, two = {2}, three = {3};
    safetensors_writer first, second;
    first.metadata("format", "pt");
    first.add("a", {1}, std::span(one));
    first.add("both", {1}, std::span(one));
    first.write(dir / "model-00001-of-00002.safetensors");
    second.add("b", {1}, std::span(two));
    second.add("both", {1}, std::span(three));
    second.write(dir / "model-00002-of-00002.safetensors");
    dir.write("model.safetensors.index.json", R"({"metadata": {"total_size": 12}, "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
        "both": "model-00002-of-00002.safetensors"}})");
    const safetensors_reader reader(dir.path());
    CHECK(reader.names() == std::vector<std::string>{"a", "b", "both"});
    CHECK(reader.read_vector<double>("a")(0) == 1);
    CHECK(reader.read_vector<double>("b")(0) == 2);
    CHECK(reader.read_vector<double>("both")(0) == 3);
    CHECK(reader.metadata().at("format") == "pt");
}

TEST_CASE("a matrix row by row, and a file that is given back and read again") {
    const temporary_directory dir;
    const matrix<float> values = matrix<float>::Random(3000, 7);
    safetensors_writer writer;
    for (const dtype type : {dtype::f64, dtype::f32, dtype::f16, dtype::bf16})
        writer.add(std::string(name_of(type)), matrix_view<const float>(values.data(), 3000, 7), type);
    writer.add("empty", matrix_view<const float>(values.data(), 0, 7), dtype::f32);
    writer.add("vector", {7}, std::span<const float>(values.data(), 7), dtype::f32);
    const std::vector<std::int32_t> integers(6);
    writer.add("integers", {2, 3}, std::span(integers));
    writer.write(dir / "x");
    const safetensors_reader reader(dir / "x");
    for (const char* name : {"F64", "F32", "F16", "BF16"}) {
        CAPTURE(name);
        const auto expected = reader.read_matrix<float>(name);
        subbit::index next = 0;
        reader.for_each_row<float>(name, [&](subbit::index i, std::span<const float> row) {
            CHECK(i == next++);
            CHECK(std::equal(row.begin(), row.end(), &expected(i, 0), &expected(i, 0) + 7));
        });
        CHECK(next == 3000);
        next = 0;
        reader.for_each_run(name, [&](const stored_rows& run) {
            CHECK(run.first == next);
            CHECK(run.cols == 7);
            std::vector<float> last(7);
            run.read(run.count - 1, std::span<float>(last));
            CHECK(std::equal(last.begin(), last.end(), &expected(run.first + run.count - 1, 0)));
            next += run.count;
        });
        CHECK(next == 3000);
        std::vector<float> row(7), wide(8);
        for (const subbit::index i : {0, 1234, 2999}) {
            reader.read_row(name, i, std::span<float>(row));
            CHECK(std::equal(row.begin(), row.end(), &expected(i, 0)));
        }
        check_throws<shape_error>([&] { reader.read_row(name, 0, std::span<float>(wide)); }, {name, "8", "7"});
        reader.release();
        CHECK(reader.read_matrix<float>(name) == expected);
    }
    const auto never = [](subbit::index, std::span<const float>) { FAIL_CHECK("there is no row"); };
    reader.for_each_row<float>("empty", never);
    check_throws<shape_error>([&] { reader.for_each_row<float>("vector", never); }, {"vector", "expected a matrix"});
    check_throws<format_error>([&] { reader.for_each_row<float>("integers", never); }, {"integers", "I32"});
    check_throws<format_error>([&] { reader.for_each_row<float>("none", never); }, {"no tensor", "none"});
}

TEST_CASE("a request that does not fit a tensor names it, its shape and what was expected") {
    const temporary_directory dir;
    const std::vector<float> values(6);
    const std::vector<std::int32_t> ids(6);
    safetensors_writer writer;
    writer.add("w", {2, 3}, std::span(values));
    writer.add("ids", {6}, std::span(ids));
    writer.write(dir / "x");
    const std::string file = dir / "x";
    const safetensors_reader reader(file);
    std::vector<float> five(5);
    reader.expect_shape("w", {2, 3});
    check_throws<shape_error>([&] { reader.expect_shape("w", {3, 2}); }, {file, "\"w\"", "2x3", "3x2"});
    check_throws<shape_error>([&] { reader.expect_shape("w", {2, 3, 1}); }, {file, "\"w\"", "2x3x1"});
    check_throws<format_error>([&] { reader.expect_shape("v", {1}); }, {file, "\"v\""});
    check_throws<shape_error>([&] { reader.read_vector<float>("w"); }, {file, "\"w\"", "2x3", "a vector"});
    check_throws<shape_error>([&] { reader.read_matrix<float>("ids"); }, {file, "\"ids\"", "6", "a matrix"});
    check_throws<shape_error>([&] { reader.read_into("w", std::span(five)); }, {file, "\"w\"", "2x3", "5 elements"});
    check_throws<format_error>([&] { reader.read_vector<float>("ids"); }, {file, "\"ids\"", "I32", "BF16"});
    check_throws<format_error>([&] { (void)reader.raw<double>("w"); }, {file, "\"w\"", "F32", "F64"});
}

TEST_CASE("the reference files open" * doctest::test_suite("reference")) {
    const safetensors_reader model(testing::reference_dir() / "llama_two_blocks");
    CHECK(model.info("model.embed_tokens.weight").type == dtype::f64);
    model.expect_shape("model.embed_tokens.weight", {96, 48});
    CHECK(model.read_matrix<double>("model.layers.1.mlp.down_proj.weight").allFinite());
    const safetensors_reader lb_admm(testing::reference_dir() / "lb_admm.safetensors");
    CHECK(lb_admm.read_matrix<double>("tall.W").rows() == 48);
}
