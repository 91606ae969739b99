// Files that one rank sees and all ranks read.
#pragma once

#include <subbit/distribute/communicator.hpp>
#include <subbit/io/mapped_file.hpp>
#include <subbit/io/safetensors.hpp>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

namespace llama {

/// What the rank that leads finds, on all ranks.
template <class F>
bool agreed(const subbit::communicator& ranks, const F& find) {
    std::uint8_t answer = ranks.leads() && find() ? 1 : 0;
    subbit::broadcast(ranks, std::span(&answer, 1), 0);
    return answer != 0;
}

/// True on all ranks if it is on each.
inline bool all_agree(const subbit::communicator& ranks, bool mine) {
    std::vector<int> agreeing{mine ? 1 : 0};
    subbit::sum_all(ranks, agreeing);
    return agreeing[0] == ranks.size();
}

/// True on all ranks if each sees the file as the rank that leads does: with the same number of bytes.
inline bool all_see(const subbit::communicator& ranks, const std::filesystem::path& file) {
    std::error_code unseen;
    const std::uint64_t here = std::filesystem::file_size(file, unseen);
    std::uint64_t there = here;
    subbit::broadcast(ranks, std::span(&there, 1), 0);
    return all_agree(ranks, !unseen && here == there);
}

/// The tensors of a file that the rank that leads has: read from the file where all ranks see it, else from its bytes,
/// which are sent to the others.
class shared_tensors {
  public:
    shared_tensors(const std::filesystem::path& file, const subbit::communicator& ranks) {
        if (ranks.is_alone() || all_see(ranks, file)) {
            tensors_.emplace(file);
            return;
        }
        if (ranks.leads()) {
            const subbit::mapped_file mapped(file);
            bytes_.assign(mapped.bytes().begin(), mapped.bytes().end());
        }
        broadcast_all(ranks, bytes_, 0);
        tensors_.emplace(bytes_, file.string());
    }
    shared_tensors(const shared_tensors&) = delete;
    shared_tensors& operator=(const shared_tensors&) = delete;

    const subbit::safetensors_reader& tensors() const { return *tensors_; }

  private:
    std::vector<std::byte> bytes_;
    std::optional<subbit::safetensors_reader> tensors_;
};

}  // namespace llama
