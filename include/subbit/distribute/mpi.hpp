// The ranks of a job that mpirun has started. For files that see MPI's header: link subbit::mpi.
#pragma once

#include <subbit/core/error.hpp>
#include <subbit/distribute/communicator.hpp>

#include <mpi.h>
#if __has_include(<mpi-ext.h>)
#include <mpi-ext.h>
#endif

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace subbit {

/// A communicator over MPI's processes. All calls come from the thread that has made it.
///
/// It starts MPI, and ends it, unless the program has done so. Errors of MPI are communication_error; those of a rank
/// that has died usually end all others before they see one.
class mpi final : public communicator {
  public:
    mpi() {
        int started = 0, provided = 0;
        MPI_Initialized(&started);
        if (!started) require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "start");
        ends_ = !started;
        // A communicator of its own: messages of the program's other parts do not meet these.
        require(MPI_Comm_dup(MPI_COMM_WORLD, &all_), "start");
        MPI_Comm_set_errhandler(all_, MPI_ERRORS_RETURN);
        MPI_Comm_rank(all_, &rank_);
        MPI_Comm_size(all_, &size_);
        MPI_Comm here;
        require(MPI_Comm_split_type(all_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &here),
                "find this machine's ranks");
        MPI_Comm_size(here, &size_here_);
        MPI_Comm_rank(here, &rank_here_);
        MPI_Comm_free(&here);
    }
    ~mpi() override {
        MPI_Comm_free(&all_);
        if (ends_) MPI_Finalize();
    }

    int rank() const override { return rank_; }
    int size() const override { return size_; }
    int size_here() const override { return size_here_; }
    int rank_here() const override { return rank_here_; }

    void barrier() const override { require(MPI_Barrier(all_), "wait"); }
    void broadcast(std::span<std::byte> bytes, int owner) const override {
        in_pieces(bytes, [&](std::byte* piece, int count) {
            require(MPI_Bcast(piece, count, MPI_BYTE, owner, all_), "broadcast");
        });
    }
    void send(std::span<const std::byte> bytes, int to) const override {
        in_pieces(bytes, [&](const std::byte* piece, int count) {
            require(MPI_Send(piece, count, MPI_BYTE, to, 0, all_), "send");
        });
    }
    void start_send(std::span<const std::byte> bytes, int to) const override {
        in_pieces(bytes, [&](const std::byte* piece, int count) {
            require(MPI_Isend(piece, count, MPI_BYTE, to, 0, all_, &sends_.emplace_back()), "send");
        });
    }
    void finish_sends() const override {
        require(MPI_Waitall(static_cast<int>(sends_.size()), sends_.data(), MPI_STATUSES_IGNORE), "send");
        sends_.clear();
    }
    void receive(std::span<std::byte> bytes, int from) const override {
        in_pieces(bytes, [&](std::byte* piece, int count) {
            MPI_Status status;
            require(MPI_Recv(piece, count, MPI_BYTE, from, 0, all_, &status), "receive");
            int received = 0;
            MPI_Get_count(&status, MPI_BYTE, &received);
            if (received != count)
                throw communication_error("rank " + std::to_string(from) + " has sent " + std::to_string(received) +
                                          " bytes, rank " + std::to_string(rank_) + " expected " +
                                          std::to_string(count));
        });
    }
    bool takes_device_memory() const override {
#if defined(MPIX_CUDA_AWARE_SUPPORT)
        return MPIX_Query_cuda_support() == 1;
#else
        return false;
#endif
    }

    /// Asks MPI to end all ranks at once, without their destructors: for an error on one of them.
    void end_all(int status) const {
        MPI_Abort(all_, status);
    }

  private:
    /// MPI counts with ints.
    template <class Byte, class F>
    static void in_pieces(std::span<Byte> bytes, const F& f) {
        constexpr std::size_t most = std::size_t{1} << 30;
        for (std::size_t at = 0; at < bytes.size(); at += most) {
            const auto piece = bytes.subspan(at, std::min(most, bytes.size() - at));
            f(piece.data(), static_cast<int>(piece.size()));
        }
    }
    static void require(int code, const char* what) {
        if (code == MPI_SUCCESS) return;
        char text[MPI_MAX_ERROR_STRING];
        int length = 0;
        MPI_Error_string(code, text, &length);
        throw communication_error(std::string("MPI cannot ") + what + ": " +
                                  std::string(text, static_cast<std::size_t>(length)));
    }

    MPI_Comm all_ = MPI_COMM_NULL;
    int rank_ = 0, size_ = 1, size_here_ = 1, rank_here_ = 0;
    bool ends_ = false;
    mutable std::vector<MPI_Request> sends_;  // that are under way
};

}  // namespace subbit
