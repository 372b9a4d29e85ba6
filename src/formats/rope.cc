#include "terrace/formats/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace terrace {
namespace {

// The (fractional) pair that turns `turns` times in the original length.
double PairOfTurns(double turns, const RopeSpec& rope) {
  return kRopeChannels * std::log(rope.yarn_original_length / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

}  // namespace

std::array<double, kRopePairs> RopeFrequencies(const RopeSpec& rope) {
  std::array<double, kRopePairs> frequencies;
  for (int i = 0; i < kRopePairs; ++i) {
    frequencies[i] = 1.0 / std::pow(rope.base, 2.0 * i / kRopeChannels);
  }
  if (rope.yarn_factor > 1) {
    const double low = std::max(std::floor(PairOfTurns(rope.yarn_beta_fast, rope)), 0.0);
    const double high =
        std::min(std::ceil(PairOfTurns(rope.yarn_beta_slow, rope)), kRopeChannels - 1.0);
    for (int i = 0; i < kRopePairs; ++i) {
      const double stretched = std::clamp((i - low) / std::max(high - low, 1e-3), 0.0, 1.0);
      frequencies[i] =
          frequencies[i] / rope.yarn_factor * stretched + frequencies[i] * (1 - stretched);
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

std::vector<float> MakeRopeTable(int64_t max_position, const RopeSpec& rope) {
  const std::array<double, kRopePairs> frequencies = RopeFrequencies(rope);
  const int64_t rows = std::max<int64_t>(max_position, 0);
  std::vector<float> table(static_cast<size_t>(rows * kRopeChannels));
  for (int64_t position = 0; position < rows; ++position) {
    FillRopeRow(frequencies, position, table.data() + position * kRopeChannels);
  }
  return table;
}

}  // namespace terrace
