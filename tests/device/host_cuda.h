// Runs CUDA kernels on the host, compiled by g++: what a kernel calls, and a launch as a loop over blocks.
// With LINKSYN_FIBERS each thread of a block is a fiber, and barriers and shuffles work; without it a block is a
// plain loop over its threads, and a kernel that uses either does not compile.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>
#ifdef LINKSYN_FIBERS
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __launch_bounds__(...)

struct Dim {
  unsigned x = 1;
};
static thread_local Dim threadIdx, blockIdx, blockDim, gridDim;

static inline uint64_t __umul64hi(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> 64);
}
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
static inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
static inline long long __double_as_longlong(double x) {
  long long bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
static inline unsigned long long atomicAdd(unsigned long long* address, unsigned long long value) {
  return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
static inline unsigned long long atomicMax(unsigned long long* address, unsigned long long value) {
  unsigned long long old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (old < value &&
         !__atomic_compare_exchange_n(address, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
template <typename T>
static inline T atomicMin(T* address, T value) {
  T old = __atomic_load_n(address, __ATOMIC_RELAXED);
  while (old > value &&
         !__atomic_compare_exchange_n(address, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}

#ifdef LINKSYN_FIBERS
#define __shared__ static thread_local
namespace fibers {

constexpr size_t STACK = 128 << 10;
enum class State { ready, at_barrier, at_shuffle, done };

struct Fiber {
  ucontext_t context;
  State state;
  std::vector<char> stack;
  uint64_t shown;  // what this lane holds up for a shuffle
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  unsigned current = 0;
  const std::function<void()>* kernel = nullptr;
  void* scheduler_stack = nullptr;
  size_t scheduler_size = 0;
};
static thread_local Block* block;

static inline void switch_to_scheduler(bool finished = false) {
  Fiber& me = block->fibers[block->current];
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(finished ? nullptr : &fake, block->scheduler_stack, block->scheduler_size);
  swapcontext(&me.context, &block->scheduler);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  (void)finished;
  swapcontext(&me.context, &block->scheduler);
#endif
}

static inline void switch_to(unsigned thread) {
  block->current = thread;
  threadIdx.x = thread;
  Fiber& fiber = block->fibers[thread];
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, fiber.stack.data(), STACK);
  swapcontext(&block->scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  swapcontext(&block->scheduler, &fiber.context);
#endif
}

static void entry() {
#if defined(__SANITIZE_ADDRESS__)
  const void* bottom = nullptr;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &block->scheduler_size);
  block->scheduler_stack = const_cast<void*>(bottom);
#endif
  (*block->kernel)();
  block->fibers[block->current].state = State::done;
  switch_to_scheduler(true);
}

static inline void wait(State state) {
  block->fibers[block->current].state = state;
  switch_to_scheduler();
}

// All live lanes of a warp have come to the shuffle: they may go on.
static inline bool release_warps() {
  bool released = false;
  for (size_t first = 0; first < block->fibers.size(); first += 32) {
    const size_t end = std::min(first + 32, block->fibers.size());
    bool waiting = false, all = true;
    for (size_t t = first; t < end; ++t) {
      waiting |= block->fibers[t].state == State::at_shuffle;
      all &= block->fibers[t].state == State::at_shuffle || block->fibers[t].state == State::done;
    }
    for (size_t t = first; waiting && all && t < end; ++t) {
      if (block->fibers[t].state == State::at_shuffle) {
        block->fibers[t].state = State::ready;
        released = true;
      }
    }
  }
  return released;
}

// Runs one block. `order` permutes the threads, so that a missing barrier shows. False: the threads wait for
// each other for ever, as when not all of them come to a barrier.
static inline bool run_block(unsigned n, unsigned order, const std::function<void()>& kernel) {
  static thread_local Block storage;
  block = &storage;
  block->kernel = &kernel;
  block->fibers.resize(n);
  for (Fiber& fiber : block->fibers) {
    if (fiber.stack.size() != STACK) {
      fiber.stack.assign(STACK, 0);
    }
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    fiber.state = State::ready;
    makecontext(&fiber.context, entry, 0);
  }
  for (;;) {
    bool moved = false;
    for (unsigned i = 0; i < n; ++i) {
      // order 0: rising; 1: falling; others: steps that are coprime to any power of two
      const unsigned t = order == 0 ? i : order == 1 ? n - 1 - i : (i * (2 * order + 1)) % n;
      const bool whole = order < 2 || (n & (n - 1)) == 0;
      const unsigned thread = whole ? t : i;
      if (block->fibers[thread].state == State::ready) {
        switch_to(thread);
        moved = true;
      }
    }
    moved |= release_warps();
    size_t done = 0, at_barrier = 0;
    for (const Fiber& fiber : block->fibers) {
      done += fiber.state == State::done;
      at_barrier += fiber.state == State::at_barrier;
    }
    if (done == n) {
      return true;
    }
    if (at_barrier > 0 && at_barrier + done == n) {
      for (Fiber& fiber : block->fibers) {
        if (fiber.state == State::at_barrier) {
          fiber.state = State::ready;
        }
      }
      moved = true;
    }
    if (!moved) {
      return false;
    }
  }
}

// All lanes show a value, all read one, all go on.
template <typename T>
static inline T exchange(T value, unsigned source) {
  const unsigned me = block->current;
  const unsigned first = me & ~31u;
  block->fibers[me].shown = 0;
  std::memcpy(&block->fibers[me].shown, &value, sizeof value);
  wait(State::at_shuffle);
  T read = value;
  if (source < 32 && first + source < block->fibers.size()) {
    std::memcpy(&read, &block->fibers[first + source].shown, sizeof read);
  }
  wait(State::at_shuffle);
  return read;
}

// All lanes show a value, all read which of them are not 0, all go on.
static inline unsigned ballot(bool value) {
  const unsigned me = block->current;
  const unsigned first = me & ~31u;
  block->fibers[me].shown = value ? 1 : 0;
  wait(State::at_shuffle);
  unsigned read = 0;
  for (unsigned lane = 0; lane < 32 && first + lane < block->fibers.size(); ++lane) {
    const Fiber& fiber = block->fibers[first + lane];
    read |= fiber.state != State::done && fiber.shown != 0 ? 1u << lane : 0u;
  }
  wait(State::at_shuffle);
  return read;
}

}  // namespace fibers

static inline void require_all_lanes(unsigned mask) {
  if (mask != 0xFFFFFFFFu) {
    std::fprintf(stderr, "a shuffle with a partial mask is not emulated\n");
    std::abort();
  }
}
#define __syncthreads() fibers::wait(fibers::State::at_barrier)
template <typename T>
static inline T __shfl_sync(unsigned mask, T value, unsigned lane) {
  require_all_lanes(mask);
  return fibers::exchange(value, lane & 31u);
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, unsigned lanes) {
  require_all_lanes(mask);
  return fibers::exchange(value, (threadIdx.x & 31u) ^ lanes);
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned offset) {
  require_all_lanes(mask);
  const unsigned lane = threadIdx.x & 31u;
  return fibers::exchange(value, lane >= offset ? lane - offset : lane);
}
static inline unsigned __ballot_sync(unsigned mask, int value) {
  require_all_lanes(mask);
  return fibers::ballot(value != 0);
}
static inline void __syncwarp() { fibers::ballot(false); }
#endif

// Launches a kernel: 0 when all threads came to its end, 1 when they wait for each other for ever.
static inline int launch(unsigned blocks, unsigned block_size, unsigned order, const std::function<void()>& kernel) {
  int stuck = 0;
#pragma omp parallel for schedule(dynamic, 1) reduction(| : stuck) if (blocks > 1)
  for (unsigned b = 0; b < blocks; ++b) {
    gridDim.x = blocks;
    blockDim.x = block_size;
    blockIdx.x = b;
#ifdef LINKSYN_FIBERS
    stuck |= fibers::run_block(block_size, order, kernel) ? 0 : 1;
#else
    (void)order;
    for (unsigned t = 0; t < block_size; ++t) {
      threadIdx.x = t;
      kernel();
    }
#endif
  }
  return stuck;
}
