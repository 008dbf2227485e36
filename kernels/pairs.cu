// Construction: pairs of KPs of a seed, as keys to sort; CSR entries and evidence from sorted keys.
#include "common.cuh"

// No seed and no edge has this key: it sorts after all others.
static constexpr uint64_t NO_EDGE = ~static_cast<uint64_t>(0);

// First seed whose KPs do not ascend without repeats, and mentions outside 0 .. n_kps - 1; the offsets are valid.
extern "C" __global__ void __launch_bounds__(256)
    check_mentions(const int64_t* __restrict__ indptr, const int32_t* __restrict__ kps, int64_t n_seeds,
                   int64_t n_mentions, int64_t n_kps, int64_t* first_seed, int64_t* n_outside) {
  for (int64_t mention = first_item(); mention < n_mentions; mention += item_stride()) {
    if (kps[mention] < 0 || kps[mention] >= n_kps) {
      add_to(n_outside, 1);
    }
    if (mention > 0 && kps[mention] <= kps[mention - 1]) {
      const int64_t seed = upper_bound(indptr, static_cast<int64_t>(0), n_seeds + 1, mention) - 1;
      if (indptr[seed] < mention) {
        lower_to(first_seed, seed);
      }
    }
  }
}

// KPs after each mention within its seed: the pairs that begin with it.
extern "C" __global__ void pairs_of_mention(const int64_t* __restrict__ indptr, int64_t n_seeds, int64_t n_mentions,
                                            int64_t* __restrict__ pairs) {
  for (int64_t mention = first_item(); mention < n_mentions; mention += item_stride()) {
    const int64_t seed = upper_bound(indptr, static_cast<int64_t>(0), n_seeds + 1, mention) - 1;
    pairs[mention] = indptr[seed + 1] - 1 - mention;
  }
}

struct Pair {
  int64_t mention;  // of the smaller KP
  int32_t u, v;     // u < v
};

// Pair number `pair` in the order (mention of u, mention of v). One thread per pair: a seed of 10,000 KPs is
// distributed over the device as evenly as 10,000 seeds of ten.
static __device__ __forceinline__ Pair find_pair(const int32_t* __restrict__ kps, const int64_t* __restrict__ running,
                                                 int64_t n_mentions, int64_t pair) {
  const int64_t mention = upper_bound(running, static_cast<int64_t>(0), n_mentions, pair);
  const int64_t before = mention > 0 ? running[mention - 1] : 0;
  return {mention, kps[mention], kps[mention + 1 + (pair - before)]};
}

// keys[i] = u * n_kps + v of pair first_pair + i; running[m] = pairs up to and with mention m.
extern "C" __global__ void expand_pairs(const int32_t* __restrict__ kps, const int64_t* __restrict__ running,
                                        int64_t n_mentions, int64_t n_kps, int64_t first_pair, int64_t n_pairs,
                                        uint64_t* __restrict__ keys) {
  for (int64_t i = first_item(); i < n_pairs; i += item_stride()) {
    const Pair pair = find_pair(kps, running, n_mentions, first_pair + i);
    keys[i] = static_cast<uint64_t>(pair.u) * static_cast<uint64_t>(n_kps) + static_cast<uint64_t>(pair.v);
  }
}

// keys[i] = (u * n_kps + v) << seed_bits | seed of pair i.
extern "C" __global__ void __launch_bounds__(256)
    expand_postings(const int64_t* __restrict__ indptr, const int32_t* __restrict__ kps,
                    const int64_t* __restrict__ running, int64_t n_seeds, int64_t n_mentions, int64_t n_kps,
                    int32_t seed_bits, int64_t n_pairs, uint64_t* __restrict__ keys) {
  for (int64_t i = first_item(); i < n_pairs; i += item_stride()) {
    const Pair pair = find_pair(kps, running, n_mentions, i);
    const int64_t seed = upper_bound(indptr, static_cast<int64_t>(0), n_seeds + 1, pair.mention) - 1;
    const uint64_t edge = static_cast<uint64_t>(pair.u) * static_cast<uint64_t>(n_kps) + static_cast<uint64_t>(pair.v);
    keys[i] = (edge << seed_bits) | static_cast<uint64_t>(seed);
  }
}

// Entry i of one triangle goes to row_base[row] + i: keys = row * n_kps + column, ascending.
extern "C" __global__ void place_entries(const uint64_t* __restrict__ keys, const int32_t* __restrict__ count,
                                         const int64_t* __restrict__ row_base, int64_t n_kps, int64_t n_edges,
                                         int32_t* __restrict__ out_indices, int32_t* __restrict__ out_count) {
  for (int64_t i = first_item(); i < n_edges; i += item_stride()) {
    const uint64_t row = keys[i] / static_cast<uint64_t>(n_kps);
    const int64_t at = row_base[row] + i;
    out_indices[at] = static_cast<int32_t>(keys[i] - row * static_cast<uint64_t>(n_kps));
    out_count[at] = count[i];
  }
}

// First entry of each row whose column is above the row's KP.
extern "C" __global__ void first_above(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                                       int64_t n_kps, int64_t* __restrict__ upper_first) {
  for (int64_t row = first_item(); row < n_kps; row += item_stride()) {
    upper_first[row] = upper_bound(indices, indptr[row], indptr[row + 1], static_cast<int32_t>(row));
  }
}

// keys[i] = edge << 32 | seed of pair first_pair + i, or NO_EDGE if the graph does not contain the edge.
extern "C" __global__ void pair_postings(const int64_t* __restrict__ indptr, const int32_t* __restrict__ kps,
                                         const int64_t* __restrict__ running, int64_t n_seeds, int64_t n_mentions,
                                         const int64_t* __restrict__ graph_indptr,
                                         const int32_t* __restrict__ graph_indices,
                                         const int64_t* __restrict__ upper_first,
                                         const int64_t* __restrict__ upper_running, int64_t first_pair,
                                         int64_t n_pairs, uint64_t* __restrict__ keys) {
  for (int64_t i = first_item(); i < n_pairs; i += item_stride()) {
    const Pair pair = find_pair(kps, running, n_mentions, first_pair + i);
    const int64_t seed = upper_bound(indptr, static_cast<int64_t>(0), n_seeds + 1, pair.mention) - 1;
    const int64_t end = graph_indptr[pair.u + 1];
    const int64_t at = lower_bound(graph_indices, upper_first[pair.u], end, pair.v);
    if (at < end && graph_indices[at] == pair.v) {
      const int64_t edge = upper_running[pair.u] + (at - upper_first[pair.u]);
      keys[i] = (static_cast<uint64_t>(edge) << 32) | static_cast<uint64_t>(seed);
    } else {
      keys[i] = NO_EDGE;
    }
  }
}

// Adds the number of keys of each edge to `held`.
extern "C" __global__ void count_postings(const uint64_t* __restrict__ keys, int64_t n_keys,
                                          int64_t* __restrict__ held) {
  for (int64_t i = first_item(); i < n_keys; i += item_stride()) {
    if (keys[i] != NO_EDGE) {
      add_to(&held[keys[i] >> 32], 1);
    }
  }
}

// Writes the seeds of sorted keys after the `placed` ones that earlier batches wrote for the same edge.
extern "C" __global__ void place_postings(const uint64_t* __restrict__ keys, int64_t n_keys,
                                          const int64_t* __restrict__ evidence_indptr,
                                          const int64_t* __restrict__ placed, int32_t* __restrict__ out_seeds) {
  for (int64_t i = first_item(); i < n_keys; i += item_stride()) {
    if (keys[i] != NO_EDGE) {
      const uint64_t edge = keys[i] >> 32;
      const int64_t run = lower_bound(keys, static_cast<int64_t>(0), i, edge << 32);
      out_seeds[evidence_indptr[edge] + placed[edge] + (i - run)] = static_cast<int32_t>(keys[i]);
    }
  }
}
