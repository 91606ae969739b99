// Launches that are recorded once and replayed, as by CUDA's graphs: with the arguments of the recording.
#pragma once

#include <subbit/backend/gpu/device/memory_cache.hpp>
#include <subbit/core/error.hpp>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace subbit::emulation {

/// A list of launches, and the memory that they had for themselves.
class graph {
  public:
    graph(std::vector<std::function<void()>> launches, gpu::recorded_memory memory)
        : launches_(std::move(launches)), memory_(std::move(memory)) {}
    void replay() const {
        for (const auto& launch : launches_)
            launch();
    }

  private:
    std::vector<std::function<void()>> launches_;
    gpu::recorded_memory memory_;
};

/// Whether the launches of a device are run or recorded.
class recorder {
  public:
    template <class F>
    std::vector<std::function<void()>> record(F&& f) {
        require_idle("a second recording");
        recording_ = true;
        try {
            std::forward<F>(f)();
        } catch (...) {
            recording_ = false;
            launches_.clear();
            throw;
        }
        recording_ = false;
        return std::exchange(launches_, {});
    }
    /// True if the launch was recorded, and must not be run.
    template <class F>
    bool keeps(F launch) {
        if (recording_) launches_.emplace_back(std::move(launch));
        return recording_;
    }
    void require_idle(const char* what) const {
        if (recording_) throw error("emulated device: " + std::string(what) + " while launches are recorded");
    }

  private:
    bool recording_ = false;
    std::vector<std::function<void()>> launches_;
};

}  // namespace subbit::emulation
