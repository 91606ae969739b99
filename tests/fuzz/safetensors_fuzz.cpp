// libFuzzer: whatever the bytes, the reader either throws a subbit::error or gives tensors that lie inside them.
#include <subbit/io/safetensors.hpp>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // A copy of the exact size, so that the address sanitizer sees every byte beyond it.
    const std::vector<std::uint8_t> copy(data, data + size);
    try {
        const subbit::safetensors_reader reader(std::as_bytes(std::span(copy)), "fuzz");
        for (const std::string& name : reader.names()) {
            const subbit::tensor_info& tensor = reader.info(name);
            unsigned sum = 0;
            for (const std::byte b : tensor.bytes)
                sum += std::to_integer<unsigned>(b);
            try {
                if (tensor.shape.size() == 2) sum += static_cast<unsigned>(reader.read_matrix<float>(name).size());
                if (tensor.shape.size() == 1) sum += static_cast<unsigned>(reader.read_vector<double>(name).size());
            } catch (const subbit::error&) {  // not floats
            }
            if (sum == 1u << 31) std::abort();  // the reads must not be optimized away
        }
    } catch (const subbit::error&) {
    }
    return 0;
}
