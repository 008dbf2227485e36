// Guide table: for each bucket of the random bits of a row, where the search begins. It only makes a draw faster.
#include "walk.cuh"

// Smallest 64-bit x with floor(x * size / 2^64) = bucket, for bucket < size < 2^32: ceil(bucket * 2^64 / size).
static __device__ __forceinline__ uint64_t first_of_bucket(uint64_t bucket, uint64_t size) {
  const uint64_t high = (bucket << 32) / size;
  const uint64_t rest = ((bucket << 32) % size) << 32;
  const uint64_t low = rest / size;
  return (high << 32) + low + (rest % size != 0 ? 1 : 0);
}

extern "C" __global__ void build_guide(const int64_t* __restrict__ indptr, const uint64_t* __restrict__ rows,
                                       const uint64_t* __restrict__ pairs, int64_t n_kps, int64_t n_entries,
                                       uint32_t* __restrict__ guide) {
  const Table table = table_of(rows, pairs, nullptr, false);
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const int64_t v = upper_bound(indptr, static_cast<int64_t>(0), n_kps + 1, entry) - 1;
    const Row row = table.row(static_cast<int32_t>(v));
    const uint64_t bits = first_of_bucket(static_cast<uint64_t>(entry - row.begin), row.degree);
    guide[entry] = row.total > 0 ? static_cast<uint32_t>(table.draw_entry(row, bits) - row.begin) : 0;
  }
}
