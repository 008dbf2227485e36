// The exact scan: a draw from what the proposals of a step can reach, by the 32 threads of a warp.
//
// The weight of an entry is its mass times p and q's factor (floor(a * 2^32); 2^32 without p and q), 0 for visited KPs.
// Most entries have one factor, `far`. The running sum of the weights is therefore the table's prefix sum times `far`,
// plus corrections at the neighbours that the row shares with that of the previous KP: the shorter of the two rows is
// read. Visited KPs are taken out afterwards; there are no more than the path has. Only two hubs in a row are read as
// a whole, the shorter of them. Sums are integers modulo 2^64, and those of a row stay below 2^64: they have the bits of a sum entry by entry.
#pragma once
#include "walk.cuh"
#include "warp.cuh"

// Path of one walker so far, inside the step-major array.
struct Path {
  int32_t* nodes;
  int64_t n;
  int64_t walker;
  int32_t size;

  __device__ __forceinline__ int32_t at(int32_t step) const { return nodes[step * n + walker]; }
  __device__ __forceinline__ void append(int32_t v) { nodes[size++ * n + walker] = v; }
  __device__ __forceinline__ bool holds(int32_t v) const {
    for (int32_t step = 0; step < size; ++step) {
      if (at(step) == v) {
        return true;
      }
    }
    return false;
  }
};

struct Rule {
  bool no_revisit, second_order;
  uint64_t back, near, far;  // floor(a * 2^53) for a step back, to a neighbour of the previous KP, elsewhere

  __device__ __forceinline__ uint64_t most_forward() const { return near > far ? near : far; }
  __device__ __forceinline__ uint64_t least() const {
    const uint64_t forward = near < far ? near : far;
    return back < forward ? back : forward;
  }

  // floor(a * 2^53) of a step to v. The graph is symmetric: the shorter of the two rows is searched.
  __device__ __forceinline__ uint64_t bound(const Table& table, const int32_t* __restrict__ indices, int32_t previous,
                                            const Row& before, int32_t v) const {
    if (v == previous) {
      return back;
    }
    const Row there = table.row(v);
    const bool shorter = there.degree < before.degree;
    const int64_t begin = shorter ? there.begin : before.begin, end = shorter ? there.end() : before.end();
    const int32_t wanted = shorter ? previous : v;
    const int64_t at = lower_bound(indices, begin, end, wanted);
    return at < end && indices[at] == wanted ? near : far;
  }
};

struct Found {
  int64_t entry;    // the end of the row if there is none
  uint64_t weight;  // then the weight of the whole row
};

// A row as the scan weighs it, before visited KPs are taken out.
struct WeighedRow {
  const Table& table;
  const int32_t* __restrict__ indices;
  const Rule& rule;
  Row here, before;          // rows of the KP and of the previous one
  int32_t previous;          // -1 on the first step
  int64_t previous_in_before;  // where the previous KP would be in its own row
  uint64_t far;              // factor of most entries

  __device__ __forceinline__ bool weighs() const { return rule.second_order && previous >= 0; }
  __device__ __forceinline__ uint64_t factor(int32_t v) const {
    return weighs() ? rule.bound(table, indices, previous, before, v) >> 21 : far;
  }

  // Entry of the neighbour v; the end of the row if there is none.
  __device__ __forceinline__ int64_t entry_of(int32_t v) const {
    const int64_t at = lower_bound(indices, here.begin, here.end(), v);
    return at < here.end() && indices[at] == v ? at : here.end();
  }

  // Candidates for another factor than `far`: this row, or the previous KP's with that KP itself, whichever is shorter.
  __device__ __forceinline__ bool reads_this_row() const { return here.degree <= before.degree; }
  __device__ __forceinline__ uint32_t n_candidates() const {
    return !weighs() ? 0 : reads_this_row() ? here.degree : before.degree + 1;
  }
  __device__ __forceinline__ int64_t candidate(uint32_t i) const {
    if (reads_this_row()) {
      return here.begin + i;
    }
    const int64_t at = before.begin + i;
    return entry_of(at < previous_in_before ? indices[at] : at == previous_in_before ? previous : indices[at - 1]);
  }

  // First entry whose running sum exceeds `target`.
  __device__ __forceinline__ Found first_above(uint64_t target, int32_t lane) const {
    const int64_t end = here.end();
    int64_t low = here.begin, high = end;  // `high`: the first entry with a correction whose sum exceeds the target
    uint64_t corrected = 0;                // sum of the corrections before it
    for (uint32_t base = 0; base < n_candidates() && high == end; base += WARP) {
      const uint32_t i = base + static_cast<uint32_t>(lane);
      const int64_t entry = i < n_candidates() ? candidate(i) : end;
      const uint64_t own =
          entry < end ? table.mass(here, entry) * (factor(neighbour_of(table.pair(entry))) - far) : 0;
      const uint64_t sum = corrected + warp_inclusive_scan(own, lane);
      const bool is_above = entry < end && far * prefix_of(table.pair(entry)) + sum > target;
      // Entries with a correction ascend: the last one that is not above is the last correction before the answer.
      const uint32_t below = __ballot_sync(ALL_LANES, entry < end && !is_above);
      if (below != 0) {
        low = __shfl_sync(ALL_LANES, entry, WARP - 1 - __clz(static_cast<int>(below))) + 1;
      }
      const uint32_t above = __ballot_sync(ALL_LANES, is_above);
      const int32_t stop = above != 0 ? __ffs(static_cast<int>(above)) - 1 : WARP;  // the first lane above
      if (stop < WARP) {
        high = __shfl_sync(ALL_LANES, entry, stop);
        corrected = __shfl_sync(ALL_LANES, sum - own, stop);
      } else {
        corrected = __shfl_sync(ALL_LANES, sum, WARP - 1);
      }
    }
    if (high == end && far * here.total + corrected <= target) {
      return {end, far * here.total + corrected};
    }
    // From the last correction before `high` on, `corrected` is complete: no difference is negative.
    while (low < high) {
      const int64_t middle = low + ((high - low) >> 1);
      if (far * prefix_of(table.pair(middle)) + corrected <= target) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return {low, 0};
  }

  // Weight of the visited KPs among the entries up to `last`.
  __device__ __forceinline__ uint64_t visited_weight(const Path& path, int64_t last, int32_t lane) const {
    uint64_t sum = 0;
    for (int32_t step = lane; rule.no_revisit && step < path.size; step += WARP) {
      const int32_t v = path.at(step);
      const int64_t entry = entry_of(v);
      if (entry < here.end() && entry <= last) {
        sum += table.mass(here, entry) * factor(v);
      }
    }
    return warp_sum(sum);
  }
};

// The neighbour that `bits` draw; -1 if nothing can be reached. Rarely called: after 32 rejected proposals of a step.
static __device__ __forceinline__ int32_t scan_row(const Table& table, const int32_t* __restrict__ indices,
                                                const Rule& rule, const Path& path, uint64_t bits) {
  const int32_t lane = lane_of_thread();
  const int32_t previous = path.size > 1 ? path.at(path.size - 2) : -1;
  const Row here = table.row(path.at(path.size - 1));
  const Row before = previous >= 0 ? table.row(previous) : Row{0, 0, 0};
  WeighedRow row{table, indices, rule, here, before, previous, 0, uint64_t{1} << 32};
  if (row.weighs()) {
    row.far = rule.far >> 21;
    row.previous_in_before = lower_bound(indices, before.begin, before.end(), previous);
  }
  const uint64_t visited = row.visited_weight(path, here.end(), lane);
  const uint64_t sum = row.first_above(~uint64_t{0}, lane).weight - visited;
  if (sum == 0) {
    return -1;
  }
  // Visited KPs before the answer move it on, perhaps past other visited ones: until none is added.
  const uint64_t target = multiply_high(bits, sum);
  uint64_t passed = 0;
  for (;;) {
    const int64_t entry = row.first_above(target + passed, lane).entry;
    const uint64_t now = row.visited_weight(path, entry, lane);
    if (now == passed) {
      return neighbour_of(table.pair(entry));
    }
    passed = now;
  }
}
