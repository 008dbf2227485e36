// The draw from a row, with and without a guide table.
#pragma once
#include "common.cuh"

// Row v of the transition table: entries [begin, end), draws below `total`.
struct Row {
  int64_t begin, end;
  uint32_t total;
};

// Smallest 64-bit x with floor(x * size / 2^64) = bucket, for bucket < size < 2^32: ceil(bucket * 2^64 / size).
static __device__ __forceinline__ uint64_t first_of_bucket(uint64_t bucket, uint64_t size) {
  const uint64_t high = (bucket << 32) / size;
  const uint64_t rest = ((bucket << 32) % size) << 32;
  const uint64_t low = rest / size;
  return (high << 32) + low + (rest % size != 0 ? 1 : 0);
}

// First entry of the row whose prefix sum exceeds floor(bits * total / 2^64).
static __device__ __forceinline__ int64_t draw_entry(const uint32_t* __restrict__ prefix, Row row, uint64_t bits) {
  const uint32_t target = static_cast<uint32_t>(multiply_high(bits, row.total));
  return upper_bound(prefix, row.begin, row.end, target);
}

// The same entry. guide[begin + bucket] is the row-relative answer for the first bits of a bucket, and answers
// ascend with the bits: a search between the answers of two neighbouring buckets finds the same entry.
static __device__ __forceinline__ int64_t draw_entry_guided(const uint32_t* __restrict__ prefix,
                                                            const uint32_t* __restrict__ guide, Row row,
                                                            uint64_t bits) {
  const uint32_t target = static_cast<uint32_t>(multiply_high(bits, row.total));
  const int64_t size = row.end - row.begin;
  const int64_t bucket = static_cast<int64_t>(multiply_high(bits, static_cast<uint64_t>(size)));
  const int64_t low = row.begin + guide[row.begin + bucket];
  const int64_t high = bucket + 1 < size ? row.begin + guide[row.begin + bucket + 1] : row.end - 1;
  return upper_bound(prefix, low, high, target);
}
