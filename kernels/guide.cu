// Guide table: for each bucket of the random bits of a row, where the search begins. It only makes a draw faster.
#include "walk.cuh"

extern "C" __global__ void build_guide(const int64_t* __restrict__ indptr, const uint32_t* __restrict__ prefix,
                                       const uint32_t* __restrict__ total, int64_t n_kps, int64_t n_entries,
                                       uint32_t* __restrict__ guide) {
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const int64_t v = upper_bound(indptr, static_cast<int64_t>(0), n_kps + 1, entry) - 1;
    const Row row{indptr[v], indptr[v + 1], total[v]};
    const uint64_t size = static_cast<uint64_t>(row.end - row.begin);
    const uint64_t bits = first_of_bucket(static_cast<uint64_t>(entry - row.begin), size);
    guide[entry] = row.total > 0 ? static_cast<uint32_t>(draw_entry(prefix, row, bits) - row.begin) : 0;
  }
}
