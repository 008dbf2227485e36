// Seeds of each KP: their levels and disciplines.
#include "common.cuh"

static __device__ __forceinline__ int64_t seed_of(const int64_t* __restrict__ indptr, int64_t n_seeds, int64_t mention) {
  return upper_bound(indptr, static_cast<int64_t>(0), n_seeds + 1, mention) - 1;
}

// Adds each mention's seed to the seeds of its KP, to those with a level, and to the sum of their levels.
extern "C" __global__ void __launch_bounds__(256)
    count_levels(const int64_t* __restrict__ indptr, const int32_t* __restrict__ kps, const uint8_t* __restrict__ level,
                 int64_t n_seeds, int64_t n_mentions, int64_t* seed_count, int64_t* rated, int64_t* level_sum) {
  for (int64_t mention = first_item(); mention < n_mentions; mention += item_stride()) {
    const int64_t found = level[seed_of(indptr, n_seeds, mention)];
    add_to(&seed_count[kps[mention]], 1);
    if (found > 0) {
      add_to(&rated[kps[mention]], 1);
      add_to(&level_sum[kps[mention]], found);
    }
  }
}

// Disciplines of each mention's seed.
extern "C" __global__ void __launch_bounds__(256)
    labels_of_mention(const int64_t* __restrict__ indptr, const int64_t* __restrict__ label_indptr, int64_t n_seeds,
                      int64_t n_mentions, int64_t* __restrict__ labels) {
  for (int64_t mention = first_item(); mention < n_mentions; mention += item_stride()) {
    const int64_t seed = seed_of(indptr, n_seeds, mention);
    labels[mention] = label_indptr[seed + 1] - label_indptr[seed];
  }
}

// keys[i] = KP * n_disciplines + discipline of item first + i; running[m] = items up to and with mention m.
extern "C" __global__ void __launch_bounds__(256)
    expand_labels(const int64_t* __restrict__ indptr, const int32_t* __restrict__ kps,
                  const int64_t* __restrict__ label_indptr, const int32_t* __restrict__ disciplines,
                  const int64_t* __restrict__ running, int64_t n_seeds, int64_t n_mentions, int64_t n_disciplines,
                  int64_t first, int64_t n_items, uint64_t* __restrict__ keys) {
  for (int64_t i = first_item(); i < n_items; i += item_stride()) {
    const int64_t mention = upper_bound(running, static_cast<int64_t>(0), n_mentions, first + i);
    const int64_t before = mention > 0 ? running[mention - 1] : 0;
    const int64_t at = label_indptr[seed_of(indptr, n_seeds, mention)] + (first + i - before);
    keys[i] = static_cast<uint64_t>(kps[mention]) * static_cast<uint64_t>(n_disciplines) +
              static_cast<uint64_t>(disciplines[at]);
  }
}
