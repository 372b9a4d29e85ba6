// What the examples compute outside the cache: rows as a model would make them, their rotation, and
// attention in double on the host.

#ifndef TERRACE_EXAMPLES_ATTENTION_H_
#define TERRACE_EXAMPLES_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "absl/types/span.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_format.h"

namespace terrace::examples {

// Normal noise as bf16 bits.   Shape: [rows, 512].
inline std::vector<uint16_t> RandomRows(int64_t rows, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> bits(rows * kLatentChannels);
  for (uint16_t& value : bits) value = Bf16FromFloat(normal(generator));
  return bits;
}

// Rotates row i of `rows` [n, 512] to position i / rows_per_position.
// Shape: table [>= n / rows_per_position, 64].
inline void Rotate(absl::Span<uint16_t> rows, absl::Span<const float> table,
                   int64_t rows_per_position = 1) {
  for (size_t i = 0; i < rows.size() / kLatentChannels; ++i) {
    const float* angles = table.data() + i / rows_per_position * kRopeChannels;
    RotatePairs<kRopePairs>(rows.data() + (i + 1) * kLatentChannels - kRopeChannels, angles,
                            angles + kRopePairs);
  }
}

// softmax(q k^T / sqrt(512)) v, where a row is key and value at once.
// Shape: query [512], rows [n, 512]; returns [512].
inline std::vector<float> Attend(absl::Span<const uint16_t> query,
                                 absl::Span<const uint16_t> rows) {
  const int64_t n = rows.size() / kLatentChannels;
  std::vector<double> weights(n);
  double largest = -INFINITY;
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t* row = rows.data() + i * kLatentChannels;
    double dot = 0;
    for (int c = 0; c < kLatentChannels; ++c) {
      dot += static_cast<double>(FloatFromBf16(query[c])) * FloatFromBf16(row[c]);
    }
    weights[i] = dot / std::sqrt(static_cast<double>(kLatentChannels));
    largest = std::max(largest, weights[i]);
  }
  double sum = 0;
  std::vector<double> out(kLatentChannels);
  for (int64_t i = 0; i < n; ++i) {
    const double weight = std::exp(weights[i] - largest);
    const uint16_t* row = rows.data() + i * kLatentChannels;
    sum += weight;
    for (int c = 0; c < kLatentChannels; ++c) out[c] += weight * FloatFromBf16(row[c]);
  }
  std::vector<float> result(kLatentChannels);
  for (int c = 0; c < kLatentChannels; ++c) result[c] = static_cast<float>(out[c] / sum);
  return result;
}

inline std::vector<float> ToFloats(absl::Span<const uint16_t> bits) {
  std::vector<float> floats(bits.size());
  std::transform(bits.begin(), bits.end(), floats.begin(),
                 [](uint16_t value) { return FloatFromBf16(value); });
  return floats;
}

// Of two vectors of one length; 0 where one is zero and the other is not, 1 where both are.
inline double Cosine(absl::Span<const float> a, absl::Span<const float> b) {
  double ab = 0;
  double aa = 0;
  double bb = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  if (aa == 0 || bb == 0) return aa == bb ? 1 : 0;
  return ab / std::sqrt(aa * bb);
}

// The smallest cosine between rows of 512 floats; a NaN or a difference in length gives 0.
inline double WorstRowCosine(absl::Span<const float> a, absl::Span<const float> b) {
  if (a.size() != b.size() || a.empty()) return 0;
  double worst = 1;
  for (size_t at = 0; at < a.size(); at += kLatentChannels) {
    const double cosine = Cosine(a.subspan(at, kLatentChannels), b.subspan(at, kLatentChannels));
    worst = cosine >= worst ? worst : std::isnan(cosine) ? 0 : cosine;
  }
  return worst;
}

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_ATTENTION_H_
