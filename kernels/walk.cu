// Walks: one thread per walker. nodes is step-major, nodes[step * n + walker]: the reads and writes of a warp are
// contiguous.
#include "philox.cuh"
#include "walk.cuh"

static constexpr uint32_t TRIALS = 32;  // proposals of a step before the exact scan of the row

struct Graph {
  const int64_t* __restrict__ indptr;
  const int32_t* __restrict__ indices;
  const uint32_t* __restrict__ prefix;
  const uint32_t* __restrict__ total;
  const uint32_t* __restrict__ guide;  // read only if `guided`
  bool guided;

  __device__ __forceinline__ Row row(int32_t v) const { return {indptr[v], indptr[v + 1], total[v]}; }

  // The graph is symmetric: the shorter of the two rows is searched.
  __device__ __forceinline__ bool has_edge(int32_t u, int32_t v) const {
    int64_t begin = indptr[u], end = indptr[u + 1];
    int32_t wanted = v;
    if (indptr[v + 1] - indptr[v] < end - begin) {
      begin = indptr[v];
      end = indptr[v + 1];
      wanted = u;
    }
    const int64_t at = lower_bound(indices, begin, end, wanted);
    return at < end && indices[at] == wanted;
  }
};

struct Rule {
  bool no_revisit, second_order;
  uint64_t back, near, far;  // floor(a * 2^53) for a step back, to a neighbour of the previous KP, elsewhere
};

// Path of one walker so far, inside the step-major array.
struct Path {
  const int32_t* nodes;
  int64_t n;
  int64_t walker;
  int32_t size;

  __device__ __forceinline__ int32_t at(int32_t step) const { return nodes[step * n + walker]; }
  __device__ __forceinline__ bool holds(int32_t v) const {
    for (int32_t step = 0; step < size; ++step) {
      if (at(step) == v) {
        return true;
      }
    }
    return false;
  }
};

static __device__ __forceinline__ uint64_t second_order_bound(const Graph& graph, const Rule& rule, int32_t previous,
                                                              int32_t proposal) {
  if (proposal == previous) {
    return rule.back;
  }
  return graph.has_edge(previous, proposal) ? rule.near : rule.far;
}

// Mass of an entry in the exact scan: its own, 0 for visited KPs, times floor(a * 2^32). The sum of a row stays
// below 2^64.
static __device__ __forceinline__ uint64_t scan_mass(const Graph& graph, const Rule& rule, const Path& path,
                                                     const Row& row, int64_t entry) {
  const uint32_t below = entry > row.begin ? graph.prefix[entry - 1] : 0;
  const uint64_t mass = graph.prefix[entry] - below;
  const int32_t v = graph.indices[entry];
  if (mass == 0 || (rule.no_revisit && path.holds(v))) {
    return 0;
  }
  if (rule.second_order && path.size > 1) {
    return mass * (second_order_bound(graph, rule, path.at(path.size - 2), v) >> 21);
  }
  return mass << 32;
}

// Draws exactly from what proposals can reach, at trial TRIALS; -1 if nothing can be reached. Rarely called: only
// after 32 rejected proposals of a step.
static __device__ __forceinline__ int32_t scan_row(const Graph& graph, const Rule& rule, const Path& path,
                                                const Row& row, uint64_t bits) {
  uint64_t sum = 0;
  for (int64_t entry = row.begin; entry < row.end; ++entry) {
    sum += scan_mass(graph, rule, path, row, entry);
  }
  if (sum == 0) {
    return -1;
  }
  const uint64_t target = multiply_high(bits, sum);
  uint64_t running = 0;
  for (int64_t entry = row.begin; entry < row.end; ++entry) {
    running += scan_mass(graph, rule, path, row, entry);
    if (running > target) {
      return graph.indices[entry];
    }
  }
  return -1;  // not reached: the last running sum is `sum`, above any target
}

static __device__ __forceinline__ bool accepted(const Graph& graph, const Rule& rule, const Path& path,
                                              int32_t proposal, uint64_t bits) {
  if (rule.no_revisit && path.holds(proposal)) {
    return false;
  }
  if (rule.second_order && path.size > 1) {
    return (bits >> 11) < second_order_bound(graph, rule, path.at(path.size - 2), proposal);
  }
  return true;
}

static __device__ __forceinline__ int32_t next_node(const Graph& graph, const Rule& rule, const Path& path,
                                                    uint64_t key, uint64_t id) {
  const Row row = graph.row(path.at(path.size - 1));
  if (row.total == 0) {
    return -1;
  }
  const uint32_t step = static_cast<uint32_t>(path.size);
  for (uint32_t trial = 0; trial < TRIALS; ++trial) {
    const Draw bits = draw(key, id, step, trial);
    const int64_t entry = graph.guided ? draw_entry_guided(graph.prefix, graph.guide, row, bits.row)
                                       : draw_entry(graph.prefix, row, bits.row);
    const int32_t proposal = graph.indices[entry];
    if (accepted(graph, rule, path, proposal, bits.acceptance)) {
      return proposal;
    }
  }
  return scan_row(graph, rule, path, row, draw(key, id, step, TRIALS).row);
}

// At least 8 blocks of 128 per multiprocessor leave 64 registers per thread: none is spilled.
extern "C" __global__ void __launch_bounds__(128, 8)
    sample_walks(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                 const uint32_t* __restrict__ prefix, const uint32_t* __restrict__ total,
                 const uint32_t* __restrict__ guide, int32_t guided, const uint32_t* __restrict__ start_prefix,
                 int64_t n_kps, const int64_t* __restrict__ ids, int64_t n_walks, int32_t length, uint64_t key,
                 int32_t no_revisit, int32_t second_order, uint64_t back, uint64_t near, uint64_t far,
                 int32_t* nodes) {
  const Graph graph{indptr, indices, prefix, total, guide, guided != 0};
  const Rule rule{no_revisit != 0, second_order != 0, back, near, far};
  const uint32_t start_total = n_kps > 0 ? start_prefix[n_kps - 1] : 0;
  for (int64_t walker = first_item(); walker < n_walks; walker += item_stride()) {
    const uint64_t id = static_cast<uint64_t>(ids[walker]);
    int32_t node = -1;
    if (start_total > 0) {
      node = static_cast<int32_t>(draw_entry(start_prefix, {0, n_kps, start_total}, draw(key, id, 0, 0).row));
    }
    nodes[walker] = node;
    for (int32_t step = 1; step <= length; ++step) {
      if (node >= 0) {
        node = next_node(graph, rule, {nodes, n_walks, walker, step}, key, id);
      }
      nodes[step * n_walks + walker] = node;  // -1 from the end of the walk on
    }
  }
}
