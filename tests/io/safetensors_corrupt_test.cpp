// Files that lie: each must end in a format_error that names the file and what is wrong in it.
#include <subbit/io/safetensors.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <cstring>
#include <string>
#include <vector>

using namespace subbit;
using subbit::testing::check_throws;
using subbit::testing::temporary_directory;

namespace {

/// A file of a header, as long as it says or as `claimed`, and some bytes of data.
std::string file_of(const std::string& header, std::size_t data_size, std::uint64_t claimed) {
    std::string file(sizeof claimed, '\0');
    std::memcpy(file.data(), &claimed, sizeof claimed);
    return file + header + std::string(data_size, 'd');
}
std::string file_of(const std::string& header, std::size_t data_size) {
    return file_of(header, data_size, header.size());
}

void check_rejected(const std::string& file, std::initializer_list<std::string> parts) {
    CAPTURE(file);
    check_throws<format_error>([&] { safetensors_reader(std::as_bytes(std::span(file)), "broken.safetensors"); },
                               {"broken.safetensors"});
    check_throws<format_error>([&] { safetensors_reader(std::as_bytes(std::span(file)), "broken.safetensors"); },
                               parts);
}

/// One tensor "w" whose description is `value`, before 8 bytes of data.
void check_tensor_rejected(const std::string& value, std::initializer_list<std::string> parts) {
    check_rejected(file_of(R"({"w":)" + value + "}", 8), {"\"w\""});
    check_rejected(file_of(R"({"w":)" + value + "}", 8), parts);
}

}  // namespace

TEST_CASE("what the corruptions below start from is sound") {
    const std::string sound = file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    CHECK(safetensors_reader(std::as_bytes(std::span(sound)), "sound").info("w").bytes.size() == 8);
    const std::string empty = file_of("{}", 0);
    CHECK(safetensors_reader(std::as_bytes(std::span(empty)), "empty").names().empty());
}

TEST_CASE("a header that is no header") {
    check_rejected("", {"0 bytes"});
    check_rejected("1234567", {"7 bytes"});
    check_rejected(file_of("{}", 0, 0), {"JSON"});
    check_rejected(file_of("{}", 0, 3), {"header of 3 bytes", "2 bytes follow"});
    check_rejected(file_of("{}", 0, ~std::uint64_t{0}), {"18446744073709551615"});
    check_rejected(file_of("{}", 5), {"cover 0 bytes", "5"});
    check_rejected(file_of("[]", 0), {"not a JSON object"});
    check_rejected(file_of("{", 0), {"JSON"});
    check_rejected(file_of("{\"w\":1e999}", 0), {"JSON"});
    check_rejected(file_of("{\"w\xff\":{}}", 0), {"JSON"});
    check_rejected(file_of("{} x", 0), {"JSON"});
    check_rejected(file_of(std::string(100000, '['), 0), {"JSON"});
}

TEST_CASE("a truncated file") {
    const std::string sound = file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
    for (std::size_t size = 0; size < sound.size(); ++size)
        check_rejected(sound.substr(0, size), {});
}

TEST_CASE("metadata that is not text to text") {
    check_rejected(file_of(R"({"__metadata__":[]})", 0), {"__metadata__"});
    check_rejected(file_of(R"({"__metadata__":{"k":1}})", 0), {"__metadata__", "\"k\""});
}

TEST_CASE("repeated keys") {
    const std::string w = R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
    check_rejected(file_of("{" + w + "," + w + "}", 8), {"\"w\"", "repeated"});
    check_rejected(file_of(R"({"w":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}})", 8),
                   {"\"dtype\"", "repeated"});
}

TEST_CASE("a description that lacks something or has the wrong kind of it") {
    check_tensor_rejected("1", {"no dtype"});
    check_tensor_rejected("null", {"no dtype"});
    check_tensor_rejected(R"({"shape":[2],"data_offsets":[0,8]})", {"no dtype"});
    check_tensor_rejected(R"({"dtype":"F32","data_offsets":[0,8]})", {"no shape"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2]})", {"no data_offsets"});
    check_tensor_rejected(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})", {"dtype", "F31"});
    check_tensor_rejected(R"({"dtype":"f32","shape":[2],"data_offsets":[0,8]})", {"dtype", "f32"});
    check_tensor_rejected(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})", {"dtype", "32"});
    check_tensor_rejected(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})", {"shape"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", {"shape", "-2"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})", {"shape", "2.0"});
    check_tensor_rejected(R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})", {"shape"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", {"data_offsets", "expected 2"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", {"data_offsets", "expected 2"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":{"0":8}})", {"data_offsets"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})", {"data_offsets", "-8"});
}

TEST_CASE("offsets and shapes that disagree with each other or with the file") {
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", {"outside", "[8, 0]"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})", {"outside", "8 bytes", "[0, 16]"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615]})",
                          {"outside"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})", {"F32 1", "needs 4 bytes"});
    check_tensor_rejected(R"({"dtype":"F64","shape":[2],"data_offsets":[0,8]})", {"F64 2", "needs 16 bytes"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[0,2],"data_offsets":[0,8]})", {"0x2", "needs 0 bytes"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", {"shape"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]})", {"shape"});
    check_tensor_rejected(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8]})", {"shape"});
    check_tensor_rejected(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", {"hole", "[4, 8]"});
}

TEST_CASE("tensors that share or waste bytes") {
    const auto two = [](const char* a, const char* b) {
        return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + a +
               R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
    };
    check_rejected(file_of(two("[0,4]", "[2,6]"), 6), {"\"b\"", "overlaps", "[2, 6]"});
    check_rejected(file_of(two("[2,6]", "[0,4]"), 6), {"\"a\"", "overlaps", "[2, 6]"});
    check_rejected(file_of(two("[0,4]", "[0,4]"), 4), {"overlaps"});
    check_rejected(file_of(two("[0,4]", "[5,9]"), 9), {"\"b\"", "hole", "[5, 9]"});
    check_rejected(file_of(two("[0,4]", "[4,8]"), 9), {"cover 8 bytes", "9"});
}

TEST_CASE("names from a file stay on one line") {
    check_rejected(file_of(R"({"a\nb":{"dtype":"F\n","shape":[2],"data_offsets":[0,8]}})", 8),
                   {R"("a\nb")", R"("F\n")"});
}

TEST_CASE("a misaligned tensor converts but cannot be read in place") {
    const std::string file = file_of(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                                     R"("w":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})",
                                     5);
    const safetensors_reader reader(std::as_bytes(std::span(file)), "odd");
    CHECK(reader.read_vector<float>("w").size() == 1);
    check_throws<format_error>([&] { (void)reader.raw<float>("w"); }, {"odd", "\"w\"", "multiple of 4"});
}

TEST_CASE("an index that lies about its shards") {
    const temporary_directory dir;
    const std::vector<float> one = {1};
    safetensors_writer writer;
    writer.add("w", {1}, std::span(one));
    writer.write(dir / "one.safetensors");
    const std::string index = "model.safetensors.index.json";
    const auto check_index = [&](const std::string& text, std::initializer_list<std::string> parts) {
        dir.write(index, text);
        check_throws<format_error>([&] { safetensors_reader{dir.path()}; }, {index});
        check_throws<format_error>([&] { safetensors_reader{dir.path()}; }, parts);
    };
    check_index("", {"JSON"});
    check_index("[]", {"weight_map"});
    check_index(R"({"weight_map":[]})", {"weight_map"});
    check_index(R"({"weight_map":{"w":1}})", {"weight_map", "\"w\""});
    check_index(R"({"weight_map":{"w":"two.safetensors"}})", {"two.safetensors", "\"w\"", "missing"});
    check_index(R"({"weight_map":{"w":"one.safetensors","v":"one.safetensors"}})", {"one.safetensors", "\"v\""});
    check_index(R"({"weight_map":{"w":"../one.safetensors"}})", {"../one.safetensors", "plain"});
    check_index(R"({"weight_map":{"w":"/etc/passwd"}})", {"/etc/passwd", "plain"});
    check_index(R"({"weight_map":{"w":".."}})", {"plain"});
    check_index(R"({"weight_map":{"w":""}})", {"plain"});
    check_index(R"({"weight_map":{"w":"one.safetensors\u0000x"}})", {"plain"});
    check_index(R"({"weight_map":{"w":"one.safetensors","w":"two.safetensors"}})", {"\"w\"", "repeated"});

    dir.write("broken.safetensors", "12");
    dir.write(index, R"({"weight_map":{"w":"broken.safetensors"}})");
    check_throws<format_error>([&] { safetensors_reader{dir.path()}; }, {"broken.safetensors", "2 bytes"});
}

TEST_CASE("a place without a model") {
    const temporary_directory dir;
    check_throws<io_error>([&] { safetensors_reader{dir.path()}; }, {dir.path(), "model.safetensors"});
    check_throws<io_error>([&] { safetensors_reader{dir / "missing"}; }, {dir / "missing"});
}
