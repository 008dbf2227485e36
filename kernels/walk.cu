// Walks: one thread per walker, trial by trial. Exact scans are done by the whole warp. nodes is step-major,
// nodes[step * n + walker]: a warp's walkers are neighbours in it.
#include "philox.cuh"
#include "scan.cuh"
#include "walk.cuh"
#include "warp.cuh"

static constexpr uint32_t TRIALS = 32;     // proposals of a step before the exact scan of the row
static constexpr int32_t REJECTED = -2;    // no proposal of this step was accepted yet
static constexpr int32_t NO_NEIGHBOUR = -1;  // the walk ends

static __device__ __forceinline__ bool accepted(const Table& table, const int32_t* __restrict__ indices,
                                                const Rule& rule, const Path& path, int32_t proposal, uint64_t bits) {
  if (rule.no_revisit && path.holds(proposal)) {
    return false;
  }
  if (!rule.second_order || path.size < 2 || (bits >> 11) < rule.least()) {
    return true;
  }
  const int32_t previous = path.at(path.size - 2);
  return (bits >> 11) < rule.bound(table, indices, previous, table.row(previous), proposal);
}

// What one trial proposes, if that is accepted; otherwise REJECTED.
static __device__ __forceinline__ int32_t propose(const Table& table, const int32_t* __restrict__ indices,
                                                  const Rule& rule, const Path& path, const Row& row, uint32_t trial,
                                                  uint64_t key, uint64_t id) {
  const Draw bits = draw(key, id, static_cast<uint32_t>(path.size), trial);
  // With no_revisit a step back is rejected anyway: these bits reject whatever the row would propose.
  if (rule.second_order && rule.no_revisit && path.size > 1 && (bits.acceptance >> 11) >= rule.most_forward()) {
    return REJECTED;
  }
  const int64_t entry = table.guided ? table.draw_entry_guided(row, bits.row) : table.draw_entry(row, bits.row);
  const int32_t proposal = neighbour_of(table.pair(entry));
  return accepted(table, indices, rule, path, proposal, bits.acceptance) ? proposal : REJECTED;
}

// Whether every neighbour was visited; asked only where the row is shorter than the path.
static __device__ __forceinline__ bool all_visited(const Table& table, const Path& path, const Row& row) {
  for (int64_t entry = row.begin; entry < row.end(); ++entry) {
    if (!path.holds(neighbour_of(table.pair(entry)))) {
      return false;
    }
  }
  return true;
}

// At least 8 blocks of 128 per multiprocessor leave 64 registers per thread: none is spilled. All threads of a warp
// stay in the loops until the last of them has finished, because they scan together.
extern "C" __global__ void __launch_bounds__(128, 8)
    sample_walks(const uint64_t* __restrict__ rows, const uint64_t* __restrict__ pairs,
                 const int32_t* __restrict__ indices, const uint32_t* __restrict__ guide, int32_t guided,
                 const uint32_t* __restrict__ start_prefix, int64_t n_kps, const int64_t* __restrict__ ids,
                 int64_t n_walks, int32_t length, uint64_t key, int32_t no_revisit, int32_t second_order,
                 uint64_t back, uint64_t near, uint64_t far, int32_t* nodes) {
  const Table table = table_of(rows, pairs, guide, guided != 0);
  const Rule rule{no_revisit != 0, second_order != 0, back, near, far};
  const uint32_t start_total = n_kps > 0 ? start_prefix[n_kps - 1] : 0;
  const int32_t lane = lane_of_thread();
  for (int64_t first = first_item() - lane; first < n_walks; first += item_stride()) {
    Path path{nodes, n_walks, first + lane, 0};
    const bool mine = path.walker < n_walks;
    const uint64_t id = mine ? static_cast<uint64_t>(ids[path.walker]) : 0;
    int32_t node = NO_NEIGHBOUR;
    if (mine && start_total > 0) {
      const uint32_t target = static_cast<uint32_t>(multiply_high(draw(key, id, 0, 0).row, start_total));
      node = static_cast<int32_t>(upper_bound(start_prefix, static_cast<int64_t>(0), n_kps, target));
    }
    bool walking = mine;
    Row row{0, 0, 0};
    uint32_t trial = 0;
    for (;;) {
      if (walking && node != REJECTED) {  // the path goes on to `node`, or ends
        path.append(node);
        if (node == NO_NEIGHBOUR || path.size > length) {
          while (path.size <= length) {
            path.append(NO_NEIGHBOUR);
          }
          walking = false;
        } else {
          row = table.row(node);
          trial = 0;
        }
      }
      if (__ballot_sync(ALL_LANES, walking) == 0) {
        break;
      }
      bool scanning = false;
      if (walking) {
        node = row.total > 0 ? propose(table, indices, rule, path, row, trial, key, id) : NO_NEIGHBOUR;
        ++trial;
        if (node == REJECTED) {
          if (trial == 1 && rule.no_revisit && row.degree < static_cast<uint32_t>(path.size) &&
              all_visited(table, path, row)) {
            node = NO_NEIGHBOUR;
          }
          scanning = node == REJECTED && trial == TRIALS;
        }
      }
      for (uint32_t left = __ballot_sync(ALL_LANES, scanning); left != 0; left &= left - 1) {
        const int32_t source = __ffs(static_cast<int>(left)) - 1;
        const Path scanned{nodes, n_walks, first + source, __shfl_sync(ALL_LANES, path.size, source)};
        const uint64_t bits =
            draw(key, static_cast<uint64_t>(ids[scanned.walker]), static_cast<uint32_t>(scanned.size), TRIALS).row;
        __syncwarp();  // the path of that lane is visible to all
        const int32_t found = scan_row(table, indices, rule, scanned, bits);
        node = lane == source ? found : node;
      }
    }
  }
}
