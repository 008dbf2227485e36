// The transition table of a round: its layout, and the draw from a row with and without a guide table.
#pragma once
#include "common.cuh"

// A test on the host counts what a step reads: it defines RANDOM_READ before this file.
#ifndef RANDOM_READ
#define RANDOM_READ(address) (*(address))
#endif

// Row of a KP: entries [begin, begin + degree), draws below `total`.
struct Row {
  int64_t begin;
  uint32_t degree, total;

  __device__ __forceinline__ int64_t end() const { return begin + degree; }
};

// A row as it is stored: 16 bytes, read at once, inside one sector of 32 bytes.
struct alignas(16) PackedRow {
  uint64_t begin;
  uint64_t total_degree;  // total << 32 | degree
};

static __device__ __forceinline__ Row unpacked(PackedRow row) {
  return {static_cast<int64_t>(row.begin), static_cast<uint32_t>(row.total_degree),
          static_cast<uint32_t>(row.total_degree >> 32)};
}

static __device__ __forceinline__ void store_row(uint64_t* __restrict__ rows, int64_t v, int64_t begin, int64_t degree,
                                                 uint64_t total) {
  rows[2 * v] = static_cast<uint64_t>(begin);
  rows[2 * v + 1] = (total << 32) | static_cast<uint64_t>(degree);
}

// An entry is 8 bytes, prefix sum << 32 | neighbour: the search of a draw ends where its answer is.
static __device__ __forceinline__ uint64_t pair_of(uint64_t prefix, int32_t neighbour) {
  return (prefix << 32) | static_cast<uint32_t>(neighbour);
}
static __device__ __forceinline__ uint32_t prefix_of(uint64_t pair) { return static_cast<uint32_t>(pair >> 32); }
static __device__ __forceinline__ int32_t neighbour_of(uint64_t pair) { return static_cast<int32_t>(pair); }

struct Table {
  const PackedRow* __restrict__ rows;
  const uint64_t* __restrict__ pairs;
  const uint32_t* __restrict__ guide;  // read only if `guided`
  bool guided;

  __device__ __forceinline__ Row row(int32_t v) const { return unpacked(RANDOM_READ(&rows[v])); }
  __device__ __forceinline__ uint64_t pair(int64_t entry) const { return RANDOM_READ(&pairs[entry]); }
  __device__ __forceinline__ uint32_t mass(const Row& row, int64_t entry) const {
    return prefix_of(pair(entry)) - (entry > row.begin ? prefix_of(pair(entry - 1)) : 0);
  }

  // First entry of [begin, end) whose prefix sum exceeds `target`; `end` if there is none.
  __device__ __forceinline__ int64_t first_above(int64_t begin, int64_t end, uint32_t target) const {
    while (begin < end) {
      const int64_t middle = begin + ((end - begin) >> 1);
      if (prefix_of(pair(middle)) <= target) {
        begin = middle + 1;
      } else {
        end = middle;
      }
    }
    return begin;
  }

  // First entry of the row whose prefix sum exceeds floor(bits * total / 2^64).
  __device__ __forceinline__ int64_t draw_entry(const Row& row, uint64_t bits) const {
    return first_above(row.begin, row.end() - 1, static_cast<uint32_t>(multiply_high(bits, row.total)));
  }

  // The same entry. guide[begin + bucket] is the row-relative answer for the first bits of a bucket, and answers
  // ascend with the bits: a search between the answers of two neighbouring buckets finds the same entry.
  __device__ __forceinline__ int64_t draw_entry_guided(const Row& row, uint64_t bits) const {
    const int64_t bucket = static_cast<int64_t>(multiply_high(bits, row.degree));
    const int64_t low = row.begin + RANDOM_READ(&guide[row.begin + bucket]);
    const int64_t high =
        bucket + 1 < row.degree ? row.begin + RANDOM_READ(&guide[row.begin + bucket + 1]) : row.end() - 1;
    return first_above(low, high, static_cast<uint32_t>(multiply_high(bits, row.total)));
  }
};

static __device__ __forceinline__ Table table_of(const uint64_t* __restrict__ rows, const uint64_t* __restrict__ pairs,
                                                 const uint32_t* __restrict__ guide, bool guided) {
  return {reinterpret_cast<const PackedRow*>(rows), pairs, guide, guided};
}
