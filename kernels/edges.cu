// Edges of a new graph: weights, pruning, connected components.
#include "common.cuh"

static constexpr int32_t COSINE = 1, JACCARD = 2;
static constexpr int32_t LARGEST_WEIGHT = 0x7FFFFFFF;
static constexpr uint64_t PRUNED = static_cast<uint64_t>(1) << 31;

static __device__ __forceinline__ int64_t row_of(const int64_t* __restrict__ indptr, int64_t n_kps, int64_t entry) {
  return upper_bound(indptr, static_cast<int64_t>(0), n_kps + 1, entry) - 1;
}

// max(1, floor(x * scale)); cosine: c / sqrt(f(u) f(v)), jaccard: c / (f(u) + f(v) - c).
extern "C" __global__ void __launch_bounds__(256)
    weigh_edges(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                const int32_t* __restrict__ count, const int64_t* __restrict__ seed_count, int64_t n_kps,
                int64_t n_entries, int32_t kind, int64_t scale, int32_t* __restrict__ weight) {
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const double c = static_cast<double>(count[entry]);
    const double fu = static_cast<double>(seed_count[row_of(indptr, n_kps, entry)]);
    const double fv = static_cast<double>(seed_count[indices[entry]]);
    const double x = kind == COSINE ? c / sqrt(fu * fv) : kind == JACCARD ? c / (fu + fv - c) : c;
    const double scaled = floor(x * static_cast<double>(scale));
    weight[entry] = scaled < 1.0 ? 1 : static_cast<int32_t>(scaled);
  }
}

// ---------------------------------------------------------------------- the heaviest edges of each KP

// Keys that sort the entries of each row: kept before pruned ones, then the heaviest first.
extern "C" __global__ void __launch_bounds__(256)
    heaviest_first(const int64_t* __restrict__ indptr, const int32_t* __restrict__ weight,
                   const uint8_t* __restrict__ keep, int64_t n_kps, int64_t n_entries, uint64_t* __restrict__ keys) {
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const uint64_t row = static_cast<uint64_t>(row_of(indptr, n_kps, entry));
    const uint64_t lightness = static_cast<uint64_t>(LARGEST_WEIGHT - weight[entry]);
    keys[entry] = (row << 32) | (keep[entry] != 0 ? 0 : PRUNED) | lightness;
  }
}

// sorted[i] = entry at place i of the sorted keys. Marks the first k entries of each row, unless they are pruned.
extern "C" __global__ void __launch_bounds__(256)
    mark_heavy(const int64_t* __restrict__ indptr, const int64_t* __restrict__ sorted, const uint8_t* __restrict__ keep,
               int64_t n_kps, int64_t n_entries, int64_t k, uint8_t* __restrict__ heavy) {
  for (int64_t i = first_item(); i < n_entries; i += item_stride()) {
    const int64_t entry = sorted[i];
    heavy[entry] = keep[entry] != 0 && i - indptr[row_of(indptr, n_kps, i)] < k ? 1 : 0;
  }
}

// An edge is kept that is marked at one of its two entries.
extern "C" __global__ void __launch_bounds__(256)
    either_end(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
               const uint8_t* __restrict__ heavy, int64_t n_kps, int64_t n_entries, uint8_t* __restrict__ keep) {
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const int64_t u = row_of(indptr, n_kps, entry), v = indices[entry];
    const int64_t mirror = lower_bound(indices, indptr[v], indptr[v + 1], static_cast<int32_t>(u));
    keep[entry] = heavy[entry] != 0 || heavy[mirror] != 0 ? 1 : 0;
  }
}

// Seeds of edges that are kept; edges are numbered before pruning.
extern "C" __global__ void __launch_bounds__(256)
    keep_postings(const int64_t* __restrict__ evidence_indptr, const int64_t* __restrict__ upper_first,
                  const int64_t* __restrict__ upper_running, const uint8_t* __restrict__ keep, int64_t n_kps,
                  int64_t n_edges, int64_t n_postings, uint8_t* __restrict__ kept) {
  for (int64_t i = first_item(); i < n_postings; i += item_stride()) {
    const int64_t edge = upper_bound(evidence_indptr, static_cast<int64_t>(0), n_edges + 1, i) - 1;
    const int64_t row = row_of(upper_running, n_kps, edge);
    kept[i] = keep[upper_first[row] + (edge - upper_running[row])];
  }
}

// ---------------------------------------------------------------------- connected components

// parent[v] leads to the smallest KP of v's component that is known; roots point to themselves.
extern "C" __global__ void __launch_bounds__(256)
    join_components(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices, int64_t n_kps,
                    int64_t n_entries, const int32_t* __restrict__ root, int32_t* parent, int64_t* any_joined) {
  for (int64_t entry = first_item(); entry < n_entries; entry += item_stride()) {
    const int32_t a = root[row_of(indptr, n_kps, entry)], b = root[indices[entry]];
    if (a < b) {
      lower_to(&parent[b], a);
      any_joined[0] = 1;  // every thread writes the same
    }
  }
}

// root[v]: the end of the chain of parents.
extern "C" __global__ void __launch_bounds__(256)
    find_roots(const int32_t* __restrict__ parent, int64_t n_kps, int32_t* __restrict__ root) {
  for (int64_t v = first_item(); v < n_kps; v += item_stride()) {
    int32_t at = static_cast<int32_t>(v);
    while (parent[at] != at) {
      at = parent[at];
    }
    root[v] = at;
  }
}
