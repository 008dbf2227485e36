// Bundles: the order of each edge's seeds in a round, and one seed for each edge of a path.
#include "philox.cuh"

static constexpr int32_t NOT_A_PATH = -2;  // first seed of a path that takes a step without an edge

// keys[i] = edge << 32 | place of the seed of posting first_posting + i in the order of (rank, seed).
extern "C" __global__ void posting_keys(const int64_t* __restrict__ indptr, const int32_t* __restrict__ seeds,
                                        const int32_t* __restrict__ place, int64_t n_edges, int64_t first_posting,
                                        int64_t n_postings, uint64_t* __restrict__ keys) {
  for (int64_t i = first_item(); i < n_postings; i += item_stride()) {
    const int64_t posting = first_posting + i;
    const int64_t edge = upper_bound(indptr, static_cast<int64_t>(0), n_edges + 1, posting) - 1;
    keys[i] = (static_cast<uint64_t>(edge) << 32) | static_cast<uint32_t>(place[seeds[posting]]);
  }
}

// Seeds of each edge with the best rank; they come first: a binary search finds their end.
extern "C" __global__ void best_ties(const int64_t* __restrict__ indptr, const int32_t* __restrict__ ordered,
                                     const int64_t* __restrict__ rank, int64_t n_edges, int32_t* __restrict__ ties) {
  for (int64_t edge = first_item(); edge < n_edges; edge += item_stride()) {
    const int64_t first = indptr[edge];
    int64_t begin = first, end = indptr[edge + 1];
    const int64_t best = begin < end ? rank[ordered[begin]] : 0;
    while (begin < end) {
      const int64_t middle = begin + ((end - begin) >> 1);
      if (rank[ordered[middle]] == best) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    ties[edge] = static_cast<int32_t>(begin - first);
  }
}

struct Postings {
  const int64_t* __restrict__ graph_indptr;
  const int32_t* __restrict__ graph_indices;
  const int64_t* __restrict__ upper_first;
  const int64_t* __restrict__ upper_running;
  const int64_t* __restrict__ indptr;
  const int32_t* __restrict__ ordered;
  const int32_t* __restrict__ ties;

  // Number of the undirected edge (u, v) in the order of (smaller end, larger end); -1 if there is none.
  __device__ __forceinline__ int64_t edge(int32_t u, int32_t v) const {
    const int32_t low = u < v ? u : v, high = u < v ? v : u;
    const int64_t first = upper_first[low], end = graph_indptr[low + 1];
    const int64_t at = lower_bound(graph_indices, first, end, high);
    return at < end && graph_indices[at] == high ? upper_running[low] + (at - first) : -1;
  }
};

// Bundle of one path so far, inside the step-major array.
struct Bundle {
  int32_t* seeds;
  int64_t n;
  int64_t row;
  int32_t size;

  __device__ __forceinline__ bool holds(int32_t seed) const {
    for (int32_t i = 0; i < size; ++i) {
      if (seeds[i * n + row] == seed) {
        return true;
      }
    }
    return false;
  }
};

// The seed for an edge: the best ones from a drawn place on, wrapping around, then the others; -1 if all are used.
static __device__ __forceinline__ int32_t choose_seed(const Postings& postings, int64_t edge, const Bundle& bundle,
                                                      uint64_t bits) {
  const int64_t begin = postings.indptr[edge], held = postings.indptr[edge + 1] - begin;
  const int64_t ties = postings.ties[edge];
  const int64_t offset = static_cast<int64_t>(multiply_high(bits, static_cast<uint64_t>(ties)));
  for (int64_t i = 0; i < held; ++i) {
    int64_t at = i;
    if (i < ties) {
      at = i + offset < ties ? i + offset : i + offset - ties;
    }
    const int32_t seed = postings.ordered[begin + at];
    if (!bundle.holds(seed)) {
      return seed;
    }
  }
  return -1;
}

// bundles is step-major and filled with -1: bundles[place * n_paths + path].
extern "C" __global__ void __launch_bounds__(128)
    link_paths(const int64_t* __restrict__ graph_indptr, const int32_t* __restrict__ graph_indices,
               const int64_t* __restrict__ upper_first, const int64_t* __restrict__ upper_running,
               const int64_t* __restrict__ indptr, const int32_t* __restrict__ ordered,
               const int32_t* __restrict__ ties, const int32_t* __restrict__ nodes, int64_t row_stride,
               int64_t column_stride, const int64_t* __restrict__ ids, const uint8_t* __restrict__ keep,
               int64_t n_paths, int32_t length, uint64_t key, int32_t* bundles) {
  const Postings postings{graph_indptr, graph_indices, upper_first, upper_running, indptr, ordered, ties};
  for (int64_t row = first_item(); row < n_paths; row += item_stride()) {
    if (keep[row] == 0) {
      continue;
    }
    const int32_t* path = nodes + row * row_stride;
    Bundle bundle{bundles, n_paths, row, 0};
    for (int32_t step = 1; step <= length && path[step * column_stride] >= 0; ++step) {
      const int64_t edge = postings.edge(path[(step - 1) * column_stride], path[step * column_stride]);
      if (edge < 0) {
        bundles[row] = NOT_A_PATH;
        break;
      }
      const uint64_t bits = draw(key, static_cast<uint64_t>(ids[row]), static_cast<uint32_t>(step), 0).row;
      const int32_t seed = choose_seed(postings, edge, bundle, bits);
      if (seed >= 0) {
        bundles[bundle.size * n_paths + row] = seed;
        ++bundle.size;
      }
    }
  }
}
