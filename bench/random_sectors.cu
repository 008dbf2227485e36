// Reads words from random sectors of 32 bytes: the rate at which a device serves what misses its caches.

__device__ unsigned long long mixed(unsigned long long x) {  // SplitMix64's finalizer
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// A sum per thread keeps the compiler from removing the reads; the reads of a thread do not depend on each other.
extern "C" __global__ void random_sectors(const unsigned long long* words, long long n_sectors, long long n_threads,
                                          long long reads, unsigned long long* sums) {
  const long long stride = (long long)gridDim.x * blockDim.x;
  for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n_threads; i += stride) {
    unsigned long long sum = 0;
    for (long long k = 0; k < reads; ++k) sum += words[4 * (mixed(i * reads + k) % n_sectors)];
    sums[i] = sum;
  }
}
