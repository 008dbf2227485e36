// Paths: lengths, occurrences of numbers, and a key for the set of KPs of each path.
// Tables are given by their strides: element (row, column) is at row * row_stride + column * column_stride.
#include "common.cuh"

extern "C" __global__ void path_lengths(const int32_t* __restrict__ nodes, int64_t n_rows, int64_t n_columns,
                                        int64_t row_stride, int64_t column_stride, int32_t* __restrict__ lengths) {
  for (int64_t row = first_item(); row < n_rows; row += item_stride()) {
    int32_t length = 0;
    for (int64_t column = 0; column < n_columns; ++column) {
      length += nodes[row * row_stride + column * column_stride] >= 0 ? 1 : 0;
    }
    lengths[row] = length;
  }
}

// Integer atomics: the counts do not depend on the order of the additions.
extern "C" __global__ void count_occurrences(const int32_t* __restrict__ table, const uint8_t* __restrict__ keep,
                                             int64_t n_rows, int64_t n_columns, int64_t row_stride,
                                             int64_t column_stride, int64_t size, int64_t* __restrict__ counts) {
  for (int64_t item = first_item(); item < n_rows * n_columns; item += item_stride()) {
    const int64_t column = item / n_rows;
    const int64_t row = item - column * n_rows;
    const int32_t number = table[row * row_stride + column * column_stride];
    if (keep[row] != 0 && number >= 0 && number < size) {
      add_to(&counts[number], 1);
    }
  }
}

// Sum over the distinct KPs of a path of splitmix64's finaliser: the same for any order of them.
extern "C" __global__ void path_keys(const int32_t* __restrict__ nodes, int64_t n_rows, int64_t n_columns,
                                     int64_t row_stride, int64_t column_stride, uint64_t* __restrict__ keys) {
  for (int64_t row = first_item(); row < n_rows; row += item_stride()) {
    const int32_t* path = nodes + row * row_stride;
    uint64_t key = 0;
    for (int64_t column = 0; column < n_columns; ++column) {
      const int32_t node = path[column * column_stride];
      bool counted = node >= 0;
      for (int64_t before = 0; counted && before < column; ++before) {
        counted = path[before * column_stride] != node;
      }
      if (counted) {
        uint64_t x = (static_cast<uint64_t>(node) + 1) * 0x9E3779B97F4A7C15ull;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
        key += x ^ (x >> 31);
      }
    }
    keys[row] = key;
  }
}
