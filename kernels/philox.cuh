// Philox4x32-10 (Salmon et al., SC 2011), the only source of randomness. Mirrors linksyn_gpu/backend/rng.py.
#pragma once
#include "common.cuh"

struct PhiloxBlock {
  uint32_t word[4];
};

static __device__ __forceinline__ PhiloxBlock philox4x32_10(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                                            uint32_t k0, uint32_t k1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

struct Draw {
  uint64_t row;         // draws from a row
  uint64_t acceptance;  // decides whether a proposal is accepted
};

// The 128 bits of walk `id` at (step, trial): a pure function; no walker depends on another.
static __device__ __forceinline__ Draw draw(uint64_t key, uint64_t id, uint32_t step, uint32_t trial) {
  const PhiloxBlock block = philox4x32_10(static_cast<uint32_t>(id), static_cast<uint32_t>(id >> 32), step, trial,
                                          static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
  return {(static_cast<uint64_t>(block.word[0]) << 32) | block.word[1],
          (static_cast<uint64_t>(block.word[2]) << 32) | block.word[3]};
}
