#include "tools/terrace/verify/reference_entry.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/contents/raw_contents.h"

// What is tolerated, channel by channel. A stored entry leaves the exact one in steps, and each has
// a bound:
//
//  1. float32. Pooling adds up to 24 parts, each with three roundings and an e^x within two units,
//     above and below the fraction bar: under 2^-16 of the largest |kv|. The norm divides it by the
//     row's root mean square and multiplies with the weight, and that mean is off by as much; the
//     roundings of norm and rotation, 2^-22 in all, fit into what the bound has to spare.
//  2. Rotation mixes two channels, the Hadamard transform 128: their bounds add up likewise.
//  3. bf16 has 8 significant bits: 2^-8 of the value, once after the rotation and once after the
//     transform. bf16 channels end here.
//  4. Codes. In a group of largest magnitude A, half a step is
//       e4m3  2^-4 of the value; at least 2^-10 * scale, a power of two below 2 * A / 448
//       e2m1  2^-2 of the value; at least 2^-2 * scale, a power of two below 2 * A / 6, or (nvfp4)
//             e4m3(A / 6), at most 17/16 of it, where a clamped 6.4 is off by less than 2^-2 of it
//     fp8_per_token multiplies with a bf16 scale and rounds to bf16: 2^-8 each. fp8_per_tensor has
//     the scale 1, whatever a row's largest magnitude is.
//
// The sums are bounds, so no right row fails. One wrong token of those that an entry pools moves
// some channels by many times that (raw_contents.h); reference_entry_test shows it for
// every token and format.

namespace terrace::tools {
namespace {

constexpr double kPoolError = 0x1p-16;
constexpr double kBf16Error = 0x1p-8;

void RoundToBf16(int32_t channels, ReferenceEntry* entry) {
  for (int32_t c = 0; c < channels; ++c) {
    entry->slack[c] += kBf16Error * (std::abs(entry->values[c]) + entry->slack[c]);
  }
}

void Rotate(const float* rope, double* values, double* slack) {
  for (int pair = 0; pair < kRopePairs; ++pair) {
    const double cosine = rope[pair];
    const double sine = rope[kRopePairs + pair];
    double* const v = values + 2 * pair;
    double* const s = slack + 2 * pair;
    const double even = v[0];
    v[0] = even * cosine - v[1] * sine;
    v[1] = even * sine + v[1] * cosine;
    s[0] = s[1] = s[0] + s[1];
  }
}

void Hadamard(int32_t channels, ReferenceEntry* entry) {
  double* const values = entry->values;
  double slack = 0;
  for (int32_t c = 0; c < channels; ++c) slack += entry->slack[c];
  for (int32_t distance = 1; distance < channels; distance *= 2) {
    for (int32_t c = 0; c < channels; ++c) {
      if ((c & distance) != 0) continue;
      const double low = values[c];
      values[c] = low + values[c + distance];
      values[c + distance] = low - values[c + distance];
    }
  }
  for (int32_t c = 0; c < channels; ++c) {
    values[c] /= std::sqrt(channels);
    entry->slack[c] = slack / std::sqrt(channels);
  }
}

// Half a step of a format's codes: of the value, and at least of the group's largest magnitude or
// a number.
struct HalfStep {
  double of_value = 0;
  double of_largest = 0;
  double least = 0;
};

HalfStep HalfStepOf(RowFormat format) {
  switch (format) {
    case RowFormat::kBf16:
      return {};
    case RowFormat::kFp8PerToken:
      return {0x1p-4 + 0x1p-6, 0x1p-9 / 448};
    case RowFormat::kFp8PerTensor:
      return {.of_value = 0x1p-4, .least = 0x1p-10};
    case RowFormat::kNvfp4:
    case RowFormat::kNvfp4V41Il:
    case RowFormat::kNvfp4Rope:
      return {0x1p-2, 0x1p-2 * 17 / 16 / 6};
    case RowFormat::kIndexerMxfp4:
      return {0x1p-2, 0x1p-2 * 2 / 6};
    case RowFormat::kFlashMlaV4:
    case RowFormat::kMxfp8V41:
    case RowFormat::kIndexerFp8:
      return {0x1p-4, 0x1p-10 * 2 / 448};
    case RowFormat::kMxfp8V41Il:
      return {0x1p-4, 0x1p-10 * 2 / 448, 0x1p-10 * 0x1p-13};
  }
  return {};
}

}  // namespace

int32_t PooledTokens(int32_t ratio, int32_t entry) {
  return ratio == kCsaRatio && entry > 0 ? 2 * kCsaRatio : ratio;
}

void MakeReference(const CompressorWeights::Plane& weights, absl::Span<const uint64_t> seeds,
                   const float* rope, ReferenceEntry* entry) {
  const int32_t channels = weights.channels;
  const bool overlaps = weights.ratio == kCsaRatio;
  const int32_t first =
      (overlaps ? 2 * kCsaRatio : weights.ratio) - static_cast<int32_t>(seeds.size());
  double sum[kLatentChannels] = {};
  double weighted[kLatentChannels] = {};
  for (size_t i = 0; i < seeds.size(); ++i) {
    const int32_t row = first + static_cast<int32_t>(i);
    const int32_t column = overlaps && row >= kCsaRatio ? channels : 0;
    const float* const ape = weights.ape.data() + row % weights.ratio * weights.columns + column;
    for (int32_t c = 0; c < channels; ++c) {
      const float score = RawScore(seeds[i], column + c) + ape[c];  // rounded, by definition
      const double weight = std::exp(static_cast<double>(score));
      sum[c] += weight;
      weighted[c] += weight * RawKv(seeds[i], column + c);
    }
  }

  double squares = 0;
  for (int32_t c = 0; c < channels; ++c) {
    entry->values[c] = weighted[c] / sum[c];
    squares += entry->values[c] * entry->values[c];
  }
  const double scale = 1 / std::sqrt(squares / channels + kCompressorEps);
  for (int32_t c = 0; c < channels; ++c) {
    entry->values[c] *= scale * weights.norm[c];
    entry->slack[c] =
        kPoolError * kMostRawKv * scale * (std::abs(weights.norm[c]) + std::abs(entry->values[c]));
  }
  const int32_t first_rope = channels - kRopeChannels;
  if (rope != nullptr) Rotate(rope, entry->values + first_rope, entry->slack + first_rope);
  RoundToBf16(channels, entry);
  if (!weights.hadamard) return;
  Hadamard(channels, entry);
  RoundToBf16(channels, entry);
}

EntryError ErrorOf(RowFormat format, const ReferenceEntry& entry, const uint16_t* row) {
  const RowLayout layout = LayoutOf(format);
  const int32_t group = std::max(layout.group, 1);
  const auto most = [&](int32_t c) { return std::abs(entry.values[c]) + entry.slack[c]; };
  EntryError error;
  for (int32_t begin = 0; begin < layout.channels; begin += group) {
    const HalfStep half = begin < layout.quantized ? HalfStepOf(format) : HalfStep{};
    double largest = 0;
    for (int32_t c = begin; c < begin + group; ++c) largest = std::max(largest, most(c));
    for (int32_t c = begin; c < begin + group; ++c) {
      const double tolerated = entry.slack[c] + std::max({half.of_value * most(c),
                                                          half.of_largest * largest, half.least});
      double relative =
          std::abs(static_cast<double>(FloatFromBf16(row[c])) - entry.values[c]) / tolerated;
      if (!std::isfinite(relative)) relative = std::numeric_limits<double>::max();
      if (relative > 1) ++error.num_channels;
      if (relative <= error.largest) continue;
      error.largest = relative;
      error.channel = c;
    }
  }
  return error;
}

}  // namespace terrace::tools
