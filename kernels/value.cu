// The value function, per KP. Only + * / sqrt in float64, compiled without fused multiply-add (-fmad=false): the
// bits are those of the host.
#include "value.cuh"

static constexpr double SMOOTHING = 1.0;
static constexpr double VALUE_CAP = 1048576.0;   // 2^20
static constexpr double POTENTIAL_CAP = 1024.0;  // 2^10
static constexpr double SCALE_CAP = 1048576.0;   // 2^20

static __device__ __forceinline__ double clipped(double x, double cap) {
  const double low = 1.0 / cap;
  return x < low ? low : (x > cap ? cap : x);
}

// (T N + s) / (n + s): the visits of a KP below its target.
static __device__ __forceinline__ double deficit(double target, int64_t visits, int64_t all_visits) {
  return (target * static_cast<double>(all_visits) + SMOOTHING) / (static_cast<double>(visits) + SMOOTHING);
}

// V = clip(P F), F = deficit ^ beta; 0 where the target is 0. twice_beta is 0, 1, 2 or 4; all_visits points to the sum.
extern "C" __global__ void node_value(const double* __restrict__ target, const double* __restrict__ potential,
                                      const int64_t* __restrict__ visits, const int64_t* __restrict__ all_visits,
                                      int64_t n_kps, int32_t twice_beta, double* __restrict__ value) {
  for (int64_t v = first_item(); v < n_kps; v += item_stride()) {
    const double missing = deficit(target[v], visits[v], all_visits[0]);
    double feedback = missing;
    if (twice_beta == 0) {
      feedback = 1.0;
    } else if (twice_beta == 1) {
      feedback = sqrt(missing);
    } else if (twice_beta == 4) {
      feedback = missing * missing;
    }
    value[v] = target[v] > 0.0 ? clipped(potential[v] * feedback, VALUE_CAP) : 0.0;
  }
}

// P <- clip(P sqrt(deficit)).
extern "C" __global__ void calibrated_potential(const double* __restrict__ potential,
                                                const double* __restrict__ target,
                                                const int64_t* __restrict__ visits,
                                                const int64_t* __restrict__ all_visits, int64_t n_kps,
                                                double* __restrict__ out) {
  for (int64_t v = first_item(); v < n_kps; v += item_stride()) {
    out[v] = clipped(potential[v] * sqrt(deficit(target[v], visits[v], all_visits[0])), POTENTIAL_CAP);
  }
}

// scale <- clip(scale (share M) / max(1, m)), m foreign steps among M.
extern "C" __global__ void calibrated_scale(const double* __restrict__ scale, const double* __restrict__ share,
                                            const int64_t* __restrict__ steps, double* __restrict__ out) {
  if (first_item() == 0) {
    const double wanted = share[0] * static_cast<double>(steps[1]);
    out[0] = clipped(scale[0] * (wanted / static_cast<double>(steps[0] > 1 ? steps[0] : 1)), SCALE_CAP);
  }
}

// Foreign steps of walks, whose edges have a negative weight, and all their steps. Element (row, column) of nodes is at
// row * row_stride + column * column_stride.
extern "C" __global__ void count_steps(const int64_t* __restrict__ indptr, const int32_t* __restrict__ indices,
                                       const int32_t* __restrict__ weight, const int32_t* __restrict__ nodes,
                                       int64_t n_rows, int64_t n_columns, int64_t row_stride, int64_t column_stride,
                                       int64_t* __restrict__ counts) {
  int64_t steps = 0, foreign = 0;
  for (int64_t row = first_item(); row < n_rows; row += item_stride()) {
    const int32_t* path = nodes + row * row_stride;
    for (int64_t step = 1; step < n_columns && path[step * column_stride] >= 0; ++step) {
      const int32_t u = path[(step - 1) * column_stride], v = path[step * column_stride];
      foreign += weight[lower_bound(indices, indptr[u], indptr[u + 1], v)] < 0 ? 1 : 0;
      ++steps;
    }
  }
  add_to(&counts[0], foreign);
  add_to(&counts[1], steps);
}

// Weight of a start at each KP: T V, 0 if its row is massless.
extern "C" __global__ void start_weights(const uint64_t* __restrict__ rows, const double* __restrict__ target,
                                         const double* __restrict__ value, int64_t n_kps,
                                         double* __restrict__ weight) {
  for (int64_t v = first_item(); v < n_kps; v += item_stride()) {
    weight[v] = rows[2 * v + 1] >> 32 > 0 ? target[v] * value[v] : 0.0;
  }
}

// Integer masses of weights; `top` points to the largest weight.
extern "C" __global__ void quantise(const double* __restrict__ weight, const double* __restrict__ top, int64_t n,
                                    uint64_t* __restrict__ mass) {
  const int32_t exponent = exponent_of(top[0]);
  for (int64_t i = first_item(); i < n; i += item_stride()) {
    mass[i] = quantised(weight[i], exponent);
  }
}

// Prefix sums of one row, shifted so that the last fits in 32 bits.
extern "C" __global__ void shift_prefix(const uint64_t* __restrict__ running, int64_t n,
                                        uint32_t* __restrict__ prefix) {
  const int32_t shift = row_shift(running[n - 1]);
  for (int64_t i = first_item(); i < n; i += item_stride()) {
    prefix[i] = static_cast<uint32_t>(running[i] >> shift);
  }
}
