// What every kernel shares: fixed-width integers, 64-bit grid-stride loops, binary searches, 64 x 64 -> high 64 bits.
// NVRTC finds no headers, so it includes nothing outside this folder.
#pragma once

#if defined(__CUDACC_RTC__)
typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

// An item of a grid-stride loop, counted in 64 bits: the number of items may exceed 2^31 at any launch shape.
static __device__ __forceinline__ int64_t first_item() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
static __device__ __forceinline__ int64_t item_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// First position in [begin, end) whose value exceeds `bound`; `end` if there is none.
template <typename T>
static __device__ __forceinline__ int64_t upper_bound(const T* __restrict__ values, int64_t begin, int64_t end,
                                                      T bound) {
  while (begin < end) {
    const int64_t middle = begin + ((end - begin) >> 1);
    if (values[middle] <= bound) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// First position in [begin, end) whose value is not below `bound`; `end` if there is none.
template <typename T>
static __device__ __forceinline__ int64_t lower_bound(const T* __restrict__ values, int64_t begin, int64_t end,
                                                      T bound) {
  while (begin < end) {
    const int64_t middle = begin + ((end - begin) >> 1);
    if (values[middle] < bound) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

// floor(a * b / 2^64).
static __device__ __forceinline__ uint64_t multiply_high(uint64_t a, uint64_t b) { return __umul64hi(a, b); }

// Integer atomics: the order of additions cannot change a sum.
static __device__ __forceinline__ void add_to(int64_t* address, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}

// The least of all values: the same in any order.
static __device__ __forceinline__ void lower_to(int64_t* address, int64_t value) {
  atomicMin(reinterpret_cast<long long*>(address), static_cast<long long>(value));
}
static __device__ __forceinline__ void lower_to(int32_t* address, int32_t value) { atomicMin(address, value); }

// Right shift of a row's prefix sums that makes its total fit in 32 bits.
static __device__ __forceinline__ int32_t row_shift(uint64_t total) {
  const int32_t excess = 32 - __clzll(static_cast<long long>(total));
  return excess > 0 ? excess : 0;
}
