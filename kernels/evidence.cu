// Bundles: the rank of each seed in a round, the best seeds of long edges, and one seed for each edge of a path.
//
// An edge of at most `chunk` seeds is searched where a path takes it. The best seeds of a longer one are listed once
// per round, by a thread for each `chunk` of its seeds: an edge of a million seeds keeps 31,250 threads busy.
#include "philox.cuh"

static constexpr int32_t NO_STEP = -1;     // behind the end of a path
static constexpr int32_t NOT_A_PATH = -2;  // a step without an edge, and the first seed of a path that takes one
static constexpr int64_t LARGEST = 0x7FFFFFFFFFFFFFFFll;

// rank = uses * ranks_per_use + distance of the level, + foreign without a wanted discipline; own: it has one.
extern "C" __global__ void __launch_bounds__(256)
    rank_seeds(const int64_t* __restrict__ label_indptr, const int32_t* __restrict__ labels,
               const uint8_t* __restrict__ level, const int64_t* __restrict__ uses, const uint8_t* __restrict__ wanted,
               const int64_t* __restrict__ distances, int64_t ranks_per_use, int64_t foreign, int64_t n_seeds,
               int64_t* __restrict__ rank, uint8_t* __restrict__ own) {
  for (int64_t seed = first_item(); seed < n_seeds; seed += item_stride()) {
    uint8_t found = 0;
    for (int64_t i = label_indptr[seed]; i < label_indptr[seed + 1]; ++i) {
      found |= wanted[labels[i]];
    }
    own[seed] = found;
    rank[seed] = uses[seed] * ranks_per_use + distances[level[seed]] + (found != 0 ? 0 : foreign);
  }
}

// Edge of each step of each kept path, 32 bits, step-major; marks the long edges among them.
extern "C" __global__ void __launch_bounds__(256)
    find_edges(const int64_t* __restrict__ graph_indptr, const int32_t* __restrict__ graph_indices,
               const int64_t* __restrict__ upper_first, const int64_t* __restrict__ upper_running,
               const int64_t* __restrict__ indptr, const int64_t* __restrict__ long_edges, int64_t n_long, int64_t chunk,
               const int32_t* __restrict__ nodes, int64_t row_stride, int64_t column_stride,
               const uint8_t* __restrict__ keep, int64_t n_paths, int32_t length, int32_t* __restrict__ edges,
               uint8_t* __restrict__ taken) {
  for (int64_t item = first_item(); item < n_paths * length; item += item_stride()) {
    const int64_t step = item / n_paths;
    const int64_t row = item - step * n_paths;
    const int32_t* path = nodes + row * row_stride + step * column_stride;
    const int32_t u = path[0], v = path[column_stride];
    if (keep[row] == 0 || u < 0 || v < 0) {
      edges[item] = NO_STEP;
      continue;
    }
    const int32_t low = u < v ? u : v, high = u < v ? v : u;
    const int64_t first = upper_first[low], end = graph_indptr[low + 1];
    const int64_t at = lower_bound(graph_indices, first, end, high);
    if (at == end || graph_indices[at] != high) {
      edges[item] = NOT_A_PATH;
      continue;
    }
    const int64_t edge = upper_running[low] + (at - first);
    edges[item] = static_cast<int32_t>(static_cast<uint32_t>(edge));
    if (indptr[edge + 1] - indptr[edge] > chunk) {
      taken[lower_bound(long_edges, static_cast<int64_t>(0), n_long, edge)] = 1;  // every thread writes the same
    }
  }
}

// ---------------------------------------------------------------------- the best seeds of long edges

// Long edges that a path takes, and with fewer listed seeds than a path has steps; counted in n_open.
extern "C" __global__ void __launch_bounds__(256)
    open_edges(const int64_t* __restrict__ indptr, const int64_t* __restrict__ long_edges, int64_t n_long,
               const uint8_t* __restrict__ taken, const int32_t* __restrict__ listed, int64_t length,
               uint8_t* __restrict__ open, int64_t* __restrict__ least, int64_t* n_open) {
  for (int64_t number = first_item(); number < n_long; number += item_stride()) {
    const int64_t edge = long_edges[number];
    const int64_t held = indptr[edge + 1] - indptr[edge];
    open[number] = taken[number] != 0 && listed[number] < (held < length ? held : length) ? 1 : 0;
    least[number] = LARGEST;
    if (open[number] != 0) {
      add_to(n_open, 1);
    }
  }
}

// Some of the seeds of an open edge, as one thread reads them.
struct Chunk {
  int64_t number;      // of the long edge; -1 where it is not open
  int64_t begin, end;  // seeds
};

static __device__ __forceinline__ Chunk find_chunk(const int64_t* __restrict__ indptr,
                                                   const int64_t* __restrict__ long_edges,
                                                   const int64_t* __restrict__ first_chunk, int64_t n_long,
                                                   const uint8_t* __restrict__ open, int64_t chunk, int64_t at) {
  const int64_t number = upper_bound(first_chunk, static_cast<int64_t>(0), n_long + 1, at) - 1;
  if (open[number] == 0) {
    return {-1, 0, 0};
  }
  const int64_t edge = long_edges[number];
  const int64_t begin = indptr[edge] + (at - first_chunk[number]) * chunk, end = indptr[edge + 1];
  return {number, begin, begin + chunk < end ? begin + chunk : end};
}

// Least rank of an open edge's seeds that are not listed.
extern "C" __global__ void __launch_bounds__(256)
    least_ranks(const int64_t* __restrict__ indptr, const int32_t* __restrict__ seeds, const int64_t* __restrict__ rank,
                const int64_t* __restrict__ long_edges, const int64_t* __restrict__ first_chunk, int64_t n_long,
                int64_t n_chunks, int64_t chunk, const uint8_t* __restrict__ open, const int32_t* __restrict__ listed,
                const int64_t* __restrict__ last, int64_t* least) {
  for (int64_t at = first_item(); at < n_chunks; at += item_stride()) {
    const Chunk part = find_chunk(indptr, long_edges, first_chunk, n_long, open, chunk, at);
    if (part.number < 0) {
      continue;
    }
    const bool any = listed[part.number] == 0;
    const int64_t above = last[part.number];
    int64_t found = LARGEST;
    for (int64_t i = part.begin; i < part.end; ++i) {
      const int64_t r = rank[seeds[i]];
      if ((any || r > above) && r < found) {
        found = r;
      }
    }
    lower_to(&least[part.number], found);
  }
}

// Seeds of the least rank in each chunk.
extern "C" __global__ void __launch_bounds__(256)
    count_ties(const int64_t* __restrict__ indptr, const int32_t* __restrict__ seeds, const int64_t* __restrict__ rank,
               const int64_t* __restrict__ long_edges, const int64_t* __restrict__ first_chunk, int64_t n_long,
               int64_t n_chunks, int64_t chunk, const uint8_t* __restrict__ open, const int64_t* __restrict__ least,
               int64_t* __restrict__ ties) {
  for (int64_t at = first_item(); at < n_chunks; at += item_stride()) {
    const Chunk part = find_chunk(indptr, long_edges, first_chunk, n_long, open, chunk, at);
    int64_t found = 0;
    for (int64_t i = part.begin; i < part.end; ++i) {
      found += rank[seeds[i]] == least[part.number] ? 1 : 0;
    }
    ties[at] = found;
  }
}

// Lists the seeds of the least rank behind those that are listed, in their order; running[c] = ties up to chunk c.
extern "C" __global__ void __launch_bounds__(256)
    list_ties(const int64_t* __restrict__ indptr, const int32_t* __restrict__ seeds, const int64_t* __restrict__ rank,
              const int64_t* __restrict__ long_edges, const int64_t* __restrict__ first_chunk, int64_t n_long,
              int64_t n_chunks, int64_t chunk, const uint8_t* __restrict__ open, const int64_t* __restrict__ least,
              const int64_t* __restrict__ running, const int32_t* __restrict__ listed,
              const int64_t* __restrict__ long_start, int32_t* __restrict__ best) {
  for (int64_t at = first_item(); at < n_chunks; at += item_stride()) {
    const Chunk part = find_chunk(indptr, long_edges, first_chunk, n_long, open, chunk, at);
    if (part.number < 0) {
      continue;
    }
    const int64_t first = first_chunk[part.number];
    const int64_t before = (at > 0 ? running[at - 1] : 0) - (first > 0 ? running[first - 1] : 0);
    int64_t place = long_start[part.number] + listed[part.number] + before;
    for (int64_t i = part.begin; i < part.end; ++i) {
      if (rank[seeds[i]] == least[part.number]) {
        best[place] = seeds[i];
        ++place;
      }
    }
  }
}

// Counts what `list_ties` listed.
extern "C" __global__ void __launch_bounds__(256)
    count_listed(const int64_t* __restrict__ first_chunk, int64_t n_long, const uint8_t* __restrict__ open,
                 const int64_t* __restrict__ least, const int64_t* __restrict__ running, int32_t* __restrict__ listed,
                 int32_t* __restrict__ ties, int64_t* __restrict__ last) {
  for (int64_t number = first_item(); number < n_long; number += item_stride()) {
    if (open[number] == 0) {
      continue;
    }
    const int64_t first = first_chunk[number];
    const int64_t found = running[first_chunk[number + 1] - 1] - (first > 0 ? running[first - 1] : 0);
    if (listed[number] == 0) {
      ties[number] = static_cast<int32_t>(found);
    }
    listed[number] += static_cast<int32_t>(found);
    last[number] = least[number];
  }
}

// ---------------------------------------------------------------------- bundles

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

// The seed for a long edge: the best ones from a drawn place on, wrapping around, then the others; -1: all are used.
static __device__ __forceinline__ int32_t choose_listed(const int32_t* __restrict__ best, int64_t listed, int64_t ties,
                                                        const Bundle& bundle, uint64_t bits) {
  const int64_t offset = static_cast<int64_t>(multiply_high(bits, static_cast<uint64_t>(ties)));
  for (int64_t i = 0; i < listed; ++i) {
    int64_t at = i;
    if (i < ties) {
      at = i + offset < ties ? i + offset : i + offset - ties;
    }
    if (!bundle.holds(best[at])) {
      return best[at];
    }
  }
  return -1;
}

// The same for a short edge, in two passes over its seeds: the best rank, then the seed.
static __device__ __forceinline__ int32_t choose_seed(const int32_t* __restrict__ seeds,
                                                      const int64_t* __restrict__ rank, int64_t begin, int64_t end,
                                                      const Bundle& bundle, uint64_t bits) {
  int64_t best = LARGEST, ties = 0;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t r = rank[seeds[i]];
    ties = r < best ? 1 : ties + (r == best ? 1 : 0);
    best = r < best ? r : best;
  }
  int64_t wanted = static_cast<int64_t>(multiply_high(bits, static_cast<uint64_t>(ties)));
  int32_t wrapped = -1, other = -1;
  int64_t other_rank = LARGEST;
  for (int64_t i = begin; i < end; ++i) {
    const int32_t seed = seeds[i];
    const int64_t r = rank[seed];
    const bool used = bundle.holds(seed);
    if (r == best) {
      if (!used && wanted <= 0) {
        return seed;
      }
      if (!used && wrapped < 0) {
        wrapped = seed;
      }
      --wanted;
    } else if (!used && (other < 0 || r < other_rank)) {
      other = seed;
      other_rank = r;
    }
  }
  return wrapped >= 0 ? wrapped : other;
}

// bundles is step-major: bundles[place * n_paths + path]. It holds the edges of the paths before, as `find_edges` wrote
// them: a seed is written to the place of an edge that has been read.
extern "C" __global__ void __launch_bounds__(128)
    link_paths(const int64_t* __restrict__ indptr, const int32_t* __restrict__ seeds, const int64_t* __restrict__ rank,
               const int64_t* __restrict__ long_edges, const int64_t* __restrict__ long_start, int64_t n_long,
               int64_t chunk, const int32_t* __restrict__ best, const int32_t* __restrict__ listed,
               const int32_t* __restrict__ ties, const int64_t* __restrict__ ids, int64_t n_paths, int32_t length,
               uint64_t key, int32_t* bundles) {
  for (int64_t row = first_item(); row < n_paths; row += item_stride()) {
    Bundle bundle{bundles, n_paths, row, 0};
    bool is_path = true;
    for (int32_t step = 0; step < length; ++step) {
      const int32_t code = bundles[step * n_paths + row];
      if (code == NO_STEP) {
        break;
      }
      if (code == NOT_A_PATH) {
        is_path = false;
        break;
      }
      const int64_t edge = static_cast<int64_t>(static_cast<uint32_t>(code));
      const int64_t begin = indptr[edge], end = indptr[edge + 1];
      const uint64_t bits = draw(key, static_cast<uint64_t>(ids[row]), static_cast<uint32_t>(step + 1), 0).row;
      int32_t seed;
      if (end - begin > chunk) {
        const int64_t number = lower_bound(long_edges, static_cast<int64_t>(0), n_long, edge);
        seed = choose_listed(best + long_start[number], listed[number], ties[number], bundle, bits);
      } else {
        seed = choose_seed(seeds, rank, begin, end, bundle, bits);
      }
      if (seed >= 0) {
        bundles[bundle.size * n_paths + row] = seed;
        ++bundle.size;
      }
    }
    for (int32_t place = bundle.size; place < length; ++place) {
      bundles[place * n_paths + row] = -1;
    }
    if (!is_path) {
      bundles[row] = NOT_A_PATH;
    }
  }
}

// Status of each path after linking; `own` is not read unless of_cell is 1.
extern "C" __global__ void __launch_bounds__(256)
    screen_bundles(const int32_t* __restrict__ bundles, int64_t n_paths, int64_t length, int64_t row_stride,
                   int64_t column_stride, const uint8_t* __restrict__ before, const uint8_t* __restrict__ own,
                   int32_t of_cell, int64_t min_seeds, const double* __restrict__ min_own_share, int32_t few_seeds,
                   int32_t off_cell, uint8_t* __restrict__ status) {
  for (int64_t row = first_item(); row < n_paths; row += item_stride()) {
    int64_t size = 0, of_own = 0;
    for (int64_t place = 0; place < length; ++place) {
      const int32_t seed = bundles[row * row_stride + place * column_stride];
      if (seed >= 0) {
        ++size;
        of_own += of_cell != 0 && own[seed] != 0 ? 1 : 0;
      }
    }
    int32_t reason = 0;
    if (size < min_seeds) {
      reason = few_seeds;
    } else if (of_cell != 0 && static_cast<double>(of_own) <= min_own_share[0] * static_cast<double>(size)) {
      reason = off_cell;
    }
    status[row] = before[row] != 0 ? before[row] : static_cast<uint8_t>(reason);
  }
}
