// Masses as integers: the only place where a float becomes an integer. Mirrors _quantise of the reference backend.
#pragma once
#include "common.cuh"

static constexpr int32_t MASS_BITS = 40;  // masses lie in 1 .. 2^40

// max(1, floor(x * 2^(MASS_BITS - E))), 0 where x is 0; E is the binary exponent of the largest x (frexp).
static __device__ __forceinline__ uint64_t quantised(double x, int32_t exponent) {
  if (!(x > 0.0)) {
    return 0;
  }
  const double scaled = floor(ldexp(x, MASS_BITS - exponent));
  return scaled < 1.0 ? 1 : static_cast<uint64_t>(scaled);
}

static __device__ __forceinline__ int32_t exponent_of(double top) {
  int32_t exponent;
  frexp(top, &exponent);
  return exponent;
}
