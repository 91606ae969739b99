// The threads of a block as fibers of one host thread: each runs until it must wait for others.
#pragma once

#include <subbit/core/error.hpp>

#include <setjmp.h>
#include <ucontext.h>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SUBBIT_FIBERS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUBBIT_FIBERS_SANITIZED 1
#endif
#endif
#if defined(SUBBIT_FIBERS_SANITIZED)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace subbit::emulation {

/// A barrier of `size` threads, which can be used again at once.
struct barrier {
    int size = 0;
    int arrived = 0;
    std::uint64_t generation = 0;
};

/// Runs n threads of one block on fibers. A fiber whose thread has ended runs the next thread that has not begun, so a
/// kernel without barriers needs only one fiber.
class fiber_group {
  public:
    fiber_group() = default;
    fiber_group(const fiber_group&) = delete;
    fiber_group& operator=(const fiber_group&) = delete;

    /// Calls body(thread) for every thread below n. Rethrows what a thread throws; throws error if all remaining
    /// threads wait for others that never come.
    void run(int n, const std::function<void(int)>& body) {
        body_ = &body;
        next_ = 0;
        count_ = n;
        failure_ = nullptr;
        used_ = 0;
        while (next_ < count_ && !failure_)
            resume(at(used_++));
        while (fiber* const first = ready_from(0))
            for (fiber* f = first; f != nullptr; f = ready_from(current_->number + 1))
                resume(*f);
        bool stuck = false;
        for (std::size_t i = 0; i < used_; ++i) {
            stuck = stuck || fibers_[i]->waits_for != nullptr;
            fibers_[i]->waits_for = nullptr;
        }
        if (failure_) std::rethrow_exception(failure_);
        if (stuck)
            throw error("emulated block: some threads wait at a barrier or an exchange that others do not reach");
    }

    /// The running thread waits until all of the barrier's threads are there.
    void wait(barrier& b) {
        if (++b.arrived == b.size) {
            b.arrived = 0;
            ++b.generation;
            return;
        }
        fiber& self = *current_;
        self.waits_for = &b;
        self.generation = b.generation;
        switch_to(self, ready_from(self.number + 1));
        self.waits_for = nullptr;
    }

  private:
    static constexpr std::size_t stack_bytes = std::size_t{1} << 17;  // the unused part is never touched

#if defined(__x86_64__)
    /// The compiler's own jumps keep three registers; those of the C library also look for cleanups to run. Not every
    /// compiler has them on other processors.
    using jump_target = std::array<void*, 5>;
#define SUBBIT_SET_JUMP(target) __builtin_setjmp((target).data())
#define SUBBIT_JUMP(target) __builtin_longjmp((target).data(), 1)
#else
    using jump_target = jmp_buf;
#define SUBBIT_SET_JUMP(target) _setjmp(target)
#define SUBBIT_JUMP(target) _longjmp(target, 1)
#endif

    /// Where a fiber, or the scheduler, goes on. swapcontext saves the signal mask, by two system calls; a jump does
    /// not, and takes a fraction of the time. So a context is what a fiber begins with, and jumps are all that follow.
    struct place {
        ucontext_t context = {};
        jump_target jump = {};
        bool begun = false;
    };
    struct fiber : place {
        std::size_t number = 0;
        std::unique_ptr<std::byte[]> stack{new std::byte[stack_bytes]};
        const barrier* waits_for = nullptr;
        std::uint64_t generation = 0;
        bool idle = false;  // at the end of run_threads()
    };

    /// The fiber i, made where there is none yet.
    fiber& at(std::size_t i) {
        if (i == fibers_.size()) {
            fibers_.push_back(std::make_unique<fiber>());
            fibers_[i]->number = i;
        }
        return *fibers_[i];
    }

    /// The first fiber from number i on that waits for what has happened; null where there is none or a thread has
    /// thrown. A fiber that must wait goes on with the next one itself: through the scheduler it would be two jumps.
    fiber* ready_from(std::size_t i) {
        for (; i < used_ && !failure_; ++i) {
            fiber& f = *fibers_[i];
            if (f.waits_for != nullptr && f.waits_for->generation != f.generation) return &f;
        }
        return nullptr;
    }

    void resume(fiber& f) {
        if (f.waits_for == nullptr && !f.idle) start(f);
        switch_to(scheduler_, &f);
    }

    void start(fiber& f) {
#if defined(SUBBIT_FIBERS_SANITIZED)
        __asan_unpoison_memory_region(f.stack.get(), stack_bytes);  // of a thread that was given up
#endif
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = stack_bytes;
        f.context.uc_link = nullptr;
        f.begun = false;
        const auto self = reinterpret_cast<std::uintptr_t>(this);
        makecontext(&f.context, reinterpret_cast<void (*)()>(&fiber_group::enter), 2, static_cast<unsigned>(self),
                    static_cast<unsigned>(std::uint64_t{self} >> 32));
    }

    /// makecontext passes ints alone: a pointer comes in two halves.
    static void enter(unsigned low, unsigned high) {
        const std::uint64_t self = std::uint64_t{high} << 32 | low;
        reinterpret_cast<fiber_group*>(static_cast<std::uintptr_t>(self))->run_threads();
    }

    /// Those of one block after the other: a context is made once, for system calls are what it costs.
    void run_threads() {
        finish_switch();
        fiber& self = *current_;
        while (true) {
            self.idle = false;
            try {
                while (next_ < count_)
                    (*body_)(next_++);
            } catch (...) {
                failure_ = std::current_exception();
            }
            self.idle = true;
            switch_to(self, ready_from(self.number + 1));
        }
    }

    /// Leaves `from` and goes on with the fiber f or, where that is null, the scheduler.
    void switch_to(place& from, fiber* f) {
        place& to = f ? static_cast<place&>(*f) : scheduler_;
        if (f) current_ = f;
#if defined(SUBBIT_FIBERS_SANITIZED)
        void* fake_stack = nullptr;
        __sanitizer_start_switch_fiber(&fake_stack, f ? f->stack.get() : scheduler_stack_,
                                       f ? stack_bytes : scheduler_bytes_);
        swapcontext(&from.context, &to.context);
        finish_switch(fake_stack);
#else
        from.begun = true;
        if (SUBBIT_SET_JUMP(from.jump) == 0) go_on_with(to);
#endif
    }

#if !defined(SUBBIT_FIBERS_SANITIZED)
    /// A function of its own, since one of the compiler's jumps must not begin where another ends.
    [[gnu::noinline]] static void go_on_with(place& to) {
        if (to.begun) SUBBIT_JUMP(to.jump);
        setcontext(&to.context);
    }
#endif

    /// The first and the later arrivals on a stack; a fiber's tells where the scheduler's stack is.
    void finish_switch([[maybe_unused]] void* fake_stack = nullptr) {
#if defined(SUBBIT_FIBERS_SANITIZED)
        const void* bottom = nullptr;
        std::size_t bytes = 0;
        __sanitizer_finish_switch_fiber(fake_stack, &bottom, &bytes);
        const auto* const stack = static_cast<const std::byte*>(bottom);
        if (stack != nullptr && !is_fiber_stack(stack)) {
            scheduler_stack_ = bottom;
            scheduler_bytes_ = bytes;
        }
#endif
    }
#if defined(SUBBIT_FIBERS_SANITIZED)
    bool is_fiber_stack(const std::byte* stack) const {
        for (const auto& f : fibers_)
            if (f->stack.get() == stack) return true;
        return false;
    }
    const void* scheduler_stack_ = nullptr;
    std::size_t scheduler_bytes_ = 0;
#endif

    const std::function<void(int)>* body_ = nullptr;
    int next_ = 0, count_ = 0;
    std::size_t used_ = 0;  // of the fibers, by the block that runs
    std::exception_ptr failure_;
    std::vector<std::unique_ptr<fiber>> fibers_;
    fiber* current_ = nullptr;
    place scheduler_;
};
#undef SUBBIT_SET_JUMP
#undef SUBBIT_JUMP

}  // namespace subbit::emulation
