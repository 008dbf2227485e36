// The transition table of a round: masses w * V of every entry, summed inside each row. The threads of a warp or a
// block cooperate through shuffles and shared memory; sums are integers and do not depend on the order.
#include "value.cuh"
#include "walk.cuh"
#include "warp.cuh"

static constexpr int32_t MAX_WARPS = 32;

struct Masses {
  const int32_t* __restrict__ indices;
  const int32_t* __restrict__ weight;
  const double* __restrict__ scale;  // factor of entries of negative weight, the foreign edges of a cell
  const double* __restrict__ value;

  __device__ __forceinline__ double weighted(int64_t entry) const {
    const double own = static_cast<double>(weight[entry]);
    return (own > 0.0 ? own : -own * scale[0]) * value[indices[entry]];
  }
};

// Largest w * V, as the bits of a double: for numbers >= 0 they have the same order. `top_bits` starts at 0.
extern "C" __global__ void __launch_bounds__(256)
    largest_weight(const int32_t* __restrict__ indices, const int32_t* __restrict__ weight,
                   const double* __restrict__ scale, const double* __restrict__ value, int64_t n_entries,
                   uint64_t* __restrict__ top_bits) {
  const Masses masses{indices, weight, scale, value};
  uint64_t top = 0;
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const uint64_t bits = static_cast<uint64_t>(__double_as_longlong(masses.weighted(entry)));
    top = bits > top ? bits : top;
  }
#pragma unroll
  for (int32_t offset = WARP / 2; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(ALL_LANES, top, offset);
    top = other > top ? other : top;
  }
  if (threadIdx.x % WARP == 0) {
    atomicMax(reinterpret_cast<unsigned long long*>(top_bits), static_cast<unsigned long long>(top));
  }
}

// One warp per row, for rows shorter than `long_row`. The block size is a multiple of 32.
extern "C" __global__ void __launch_bounds__(256)
    prefix_short_rows(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                      const int32_t* __restrict__ weight, const double* __restrict__ scale,
                      const double* __restrict__ value, const double* __restrict__ top, int64_t n_kps, int64_t long_row,
                      uint64_t* __restrict__ rows, uint64_t* __restrict__ pairs) {
  const Masses masses{indices, weight, scale, value};
  const int32_t exponent = exponent_of(top[0]);
  const int32_t lane = static_cast<int32_t>(threadIdx.x % WARP);
  for (int64_t row = first_item() / WARP; row < n_kps; row += item_stride() / WARP) {
    const int64_t begin = indptr[row], end = indptr[row + 1];
    if (end - begin >= long_row) {
      continue;
    }
    uint64_t sum = 0;
    for (int64_t entry = begin + lane; entry < end; entry += WARP) {
      sum += quantised(masses.weighted(entry), exponent);
    }
    sum = warp_sum(sum);
    const int32_t shift = row_shift(sum);
    uint64_t carry = 0;
    for (int64_t base = begin; base < end; base += WARP) {
      const int64_t entry = base + lane;
      const uint64_t mass = entry < end ? quantised(masses.weighted(entry), exponent) : 0;
      const uint64_t running = carry + warp_inclusive_scan(mass, lane);
      if (entry < end) {
        pairs[entry] = pair_of(running >> shift, indices[entry]);
      }
      carry = __shfl_sync(ALL_LANES, running, WARP - 1);
    }
    if (lane == 0) {
      store_row(rows, row, begin, end - begin, sum >> shift);
    }
  }
}

// One block per row, for the listed rows. The block size is a multiple of 32, at most 1,024.
extern "C" __global__ void __launch_bounds__(256)
    prefix_long_rows(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                     const int32_t* __restrict__ weight, const double* __restrict__ scale,
                     const double* __restrict__ value, const double* __restrict__ top,
                     const int64_t* __restrict__ long_rows, int64_t n_long,
                     uint64_t* __restrict__ rows, uint64_t* __restrict__ pairs) {
  __shared__ uint64_t of_warp[MAX_WARPS];
  const Masses masses{indices, weight, scale, value};
  const int32_t exponent = exponent_of(top[0]);
  const int32_t lane = static_cast<int32_t>(threadIdx.x % WARP);
  const int32_t warp = static_cast<int32_t>(threadIdx.x / WARP);
  const int32_t n_warps = static_cast<int32_t>(blockDim.x / WARP);
  for (int64_t item = blockIdx.x; item < n_long; item += gridDim.x) {
    const int64_t row = long_rows[item];
    const int64_t begin = indptr[row], end = indptr[row + 1];
    uint64_t sum = 0;
    for (int64_t entry = begin + threadIdx.x; entry < end; entry += blockDim.x) {
      sum += quantised(masses.weighted(entry), exponent);
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      of_warp[warp] = sum;
    }
    __syncthreads();
    sum = 0;
    for (int32_t w = 0; w < n_warps; ++w) {
      sum += of_warp[w];
    }
    __syncthreads();  // all threads have read the sums before the scan overwrites them
    const int32_t shift = row_shift(sum);
    uint64_t carry = 0;
    for (int64_t base = begin; base < end; base += blockDim.x) {
      const int64_t entry = base + threadIdx.x;
      const uint64_t mass = entry < end ? quantised(masses.weighted(entry), exponent) : 0;
      const uint64_t in_warp = warp_inclusive_scan(mass, lane);
      if (lane == WARP - 1) {
        of_warp[warp] = in_warp;
      }
      __syncthreads();
      uint64_t before = carry, chunk = 0;
      for (int32_t w = 0; w < n_warps; ++w) {
        before += w < warp ? of_warp[w] : 0;
        chunk += of_warp[w];
      }
      if (entry < end) {
        pairs[entry] = pair_of((before + in_warp) >> shift, indices[entry]);
      }
      carry += chunk;
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      store_row(rows, row, begin, end - begin, sum >> shift);
    }
  }
}
