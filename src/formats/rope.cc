#include "terrace/formats/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace terrace {
namespace {

// The (fractional) pair that turns `turns` times in the original length.
double PairOfTurns(double turns, double base, const YarnScaling& yarn) {
  return kRopeChannels * std::log(yarn.original_length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(base));
}

}  // namespace

std::array<double, kRopePairs> RopeFrequencies(double base,
                                               const std::optional<YarnScaling>& yarn) {
  std::array<double, kRopePairs> frequencies;
  for (int i = 0; i < kRopePairs; ++i) {
    frequencies[i] = 1.0 / std::pow(base, 2.0 * i / kRopeChannels);
  }
  if (yarn.has_value()) {
    const double low = std::max(std::floor(PairOfTurns(yarn->beta_fast, base, *yarn)), 0.0);
    const double high =
        std::min(std::ceil(PairOfTurns(yarn->beta_slow, base, *yarn)), kRopeChannels - 1.0);
    for (int i = 0; i < kRopePairs; ++i) {
      const double stretched = std::clamp((i - low) / std::max(high - low, 1e-3), 0.0, 1.0);
      frequencies[i] = frequencies[i] / yarn->factor * stretched + frequencies[i] * (1 - stretched);
    }
  }
  return frequencies;
}

void FillRopeRow(const std::array<double, kRopePairs>& frequencies, int64_t position, float* row) {
  for (int i = 0; i < kRopePairs; ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    row[i] = static_cast<float>(std::cos(angle));
    row[kRopePairs + i] = static_cast<float>(std::sin(angle));
  }
}

std::vector<float> MakeRopeTable(int64_t max_position, double base,
                                 const std::optional<YarnScaling>& yarn) {
  const std::array<double, kRopePairs> frequencies = RopeFrequencies(base, yarn);
  const int64_t rows = std::max<int64_t>(max_position, 0);
  std::vector<float> table(static_cast<size_t>(rows * kRopeChannels));
  for (int64_t position = 0; position < rows; ++position) {
    FillRopeRow(frequencies, position, table.data() + position * kRopeChannels);
  }
  return table;
}

}  // namespace terrace
