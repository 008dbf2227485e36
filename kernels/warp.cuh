// What the 32 threads of a warp compute together. All of them call these functions.
#pragma once
#include "common.cuh"

static constexpr uint32_t ALL_LANES = 0xFFFFFFFFu;
static constexpr int32_t WARP = 32;

static __device__ __forceinline__ int32_t lane_of_thread() { return static_cast<int32_t>(threadIdx.x % WARP); }

static __device__ __forceinline__ uint64_t warp_sum(uint64_t x) {
#pragma unroll
  for (int32_t offset = WARP / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(ALL_LANES, x, offset);
  }
  return x;
}

static __device__ __forceinline__ uint64_t warp_inclusive_scan(uint64_t x, int32_t lane) {
#pragma unroll
  for (int32_t offset = 1; offset < WARP; offset *= 2) {
    const uint64_t below = __shfl_up_sync(ALL_LANES, x, offset);
    x += lane >= offset ? below : 0;
  }
  return x;
}
