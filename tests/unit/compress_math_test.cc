#include "terrace/formats/compress_math.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/state_pages.h"
#include "terrace/formats/row_codec.h"
#include "tests/support/golden.h"

namespace terrace::testing {
namespace {

using internal::CsaStateLayout;
using internal::HcaStateLayout;
using internal::kCsaRows;
using internal::kHcaSegmentTokens;

using CompressMathTest = GoldenTest;

TEST(ExpNonPositiveTest, IsWithinTwoUnitsInTheLastPlaceAndWhatTheExponentMagnifies) {
  // Every 1,009th float from 0 to -87, and the ends.
  double worst = 0;
  for (uint32_t bits = 0x80000000u; bits <= BitsFromFloat(-87.0f); bits += 1009) {
    const float x = FloatFromBits(bits);
    const double exact = std::exp(static_cast<double>(x));
    const double unit = std::exp2(std::floor(std::log2(exact)) - 23);
    const double magnified = -x * 0x1p-26 * exact;
    worst = std::max(worst, (std::abs(ExpNonPositive(x) - exact) - magnified) / unit);
  }
  EXPECT_LT(worst, 2.0);
  RecordProperty("units", std::to_string(worst));
  EXPECT_EQ(ExpNonPositive(0.0f), 1.0f);
  EXPECT_EQ(ExpNonPositive(-87.0f), ExpNonPositive(-1e30f));
  EXPECT_GT(ExpNonPositive(-INFINITY), 0x1p-126f);
  EXPECT_EQ(ExpNonPositive(NAN), ExpNonPositive(-INFINITY));
}

TEST(PoolWindowTest, ATokenThatWeighsNothingChangesNothing) {
  for (const float score : {-INFINITY, NAN, -1e30f}) {
    float sum = 0;
    float weighted = 0;
    PoolGroup<3>({score, 2.0f, score}, {5.0f, 3.0f, 5.0f}, sum, weighted);
    int bad = 0;
    EXPECT_EQ(Pooled(sum, weighted, bad), 3.0f) << score;
    EXPECT_EQ(bad, 0);
  }
}

TEST(PoolWindowTest, EqualsAddingTokenByTokenUpToRounding) {
  float scores[8];
  float values[8];
  SoftmaxSum one_by_one = kEmptySoftmaxSum;
  for (int i = 0; i < 8; ++i) {
    scores[i] = std::sin(7.0f * i) * 9;
    values[i] = std::cos(3.0f * i);
    Accumulate({scores[i], 1.0f, values[i]}, one_by_one);
  }
  float sum = 0;
  float weighted = 0;
  PoolGroup(scores, values, sum, weighted);
  EXPECT_NEAR(sum, one_by_one.sum, 1e-5 * sum);
  EXPECT_NEAR(weighted, one_by_one.weighted, 1e-5 * sum);
}

TEST(SoftmaxSumTest, ATokenThatWeighsNothingChangesNothing) {
  for (const float score : {-INFINITY, NAN, -1e30f}) {
    SoftmaxSum sum = kEmptySoftmaxSum;
    Accumulate({score, 1.0f, 5.0f}, sum);
    Accumulate({2.0f, 1.0f, 3.0f}, sum);
    Accumulate({score, 1.0f, 5.0f}, sum);
    int bad = 0;
    EXPECT_EQ(Pooled(sum.sum, sum.weighted, bad), 3.0f) << score;
    EXPECT_EQ(bad, 0);
  }
}

TEST(SoftmaxSumTest, AValueThatIsNotFiniteBecomesZeroAndIsCounted) {
  for (const float value : {INFINITY, -INFINITY, NAN}) {
    SoftmaxSum sum = kEmptySoftmaxSum;
    Accumulate({1.0f, 1.0f, value}, sum);
    Accumulate({2.0f, 1.0f, 3.0f}, sum);
    int bad = 0;
    EXPECT_EQ(Pooled(sum.sum, sum.weighted, bad), 0.0f) << value;
    EXPECT_EQ(bad, 1);
  }
}

TEST(SoftmaxSumTest, AddingAPartEqualsAddingItsTokensUpToRounding) {
  SoftmaxSum part = kEmptySoftmaxSum;
  SoftmaxSum total = kEmptySoftmaxSum;
  SoftmaxSum one_by_one = kEmptySoftmaxSum;
  for (int i = 0; i < 40; ++i) {
    const SoftmaxSum token = {std::sin(7.0f * i) * 9, 1.0f, std::cos(3.0f * i)};
    Accumulate(token, i < 11 ? total : part);
    Accumulate(token, one_by_one);
  }
  Accumulate(part, total);
  EXPECT_EQ(total.max, one_by_one.max);
  EXPECT_NEAR(total.sum, one_by_one.sum, 1e-5 * one_by_one.sum);
  EXPECT_NEAR(total.weighted, one_by_one.weighted, 1e-5 * one_by_one.sum);
}

// A golden set of compression, and what this arithmetic makes of it.
struct Compression {
  NpyArray kv, score, ape, weight;
  int ratio;
  int width;
  int channels;
  bool overlaps;

  explicit Compression(const std::string& name)
      : kv(Golden(name + "/kv")),
        score(Golden(name + "/score")),
        ape(Golden(name + "/ape")),
        weight(Golden(name + "/norm_weight")),
        ratio(static_cast<int>(ape.shape[0])),
        width(static_cast<int>(ape.shape[1])),
        channels(static_cast<int>(weight.shape[0])),
        overlaps(width == 2 * channels) {}

  // Pools channel `c` of `entry`. `magnitude` becomes the weighted mean of |kv|.
  float Pool(int entry, int c, double* magnitude) const {
    const int rows = overlaps ? kCsaRows : ratio;
    SoftmaxSum total = kEmptySoftmaxSum;
    SoftmaxSum open = kEmptySoftmaxSum;
    SoftmaxSum magnitudes = kEmptySoftmaxSum;
    float scores[kCsaRows];
    float values[kCsaRows];
    for (int j = 0; j < rows; ++j) {
      const int token = (entry + 1) * ratio - rows + j;
      const int column = c + (overlaps && j >= ratio ? channels : 0);
      SoftmaxSum part = {-INFINITY, 1.0f, 0.0f};
      if (token >= 0) {
        part.max = AddRn(score.data<float>()[token * width + column],
                         ape.data<float>()[token % ratio * width + column]);
        part.weighted = kv.data<float>()[token * width + column];
      }
      Accumulate({part.max, part.sum, std::abs(part.weighted)}, magnitudes);
      if (overlaps) {
        scores[j] = part.max;
        values[j] = part.weighted;
        continue;
      }
      Accumulate(part, open);
      if (j % kHcaSegmentTokens != kHcaSegmentTokens - 1) continue;
      Accumulate(open, total);
      open = kEmptySoftmaxSum;
    }
    if (overlaps) PoolGroup(scores, values, total.sum, total.weighted);
    int bad = 0;
    *magnitude = Pooled(magnitudes.sum, magnitudes.weighted, bad);
    return Pooled(total.sum, total.weighted, bad);
  }
};

float SquaresByNeighbours(const std::vector<float>& values) {
  std::vector<float> sums;
  for (size_t i = 0; i < values.size(); i += 2) {
    sums.push_back(SumOfSquares(values[i], values[i + 1]));
  }
  for (size_t left = sums.size() / 2; left > 0; left /= 2) {
    for (size_t i = 0; i < left; ++i) sums[i] = AddRn(sums[2 * i], sums[2 * i + 1]);
  }
  return sums[0];
}

template <int kChannels>
void ExpectGolden(const std::string& name) {
  const Compression set(name);
  ASSERT_EQ(set.channels, kChannels);
  const NpyArray pooled = Golden(name + "/pooled");
  const NpyArray normed = Golden(name + "/normed");
  const float eps = *Golden(name + "/eps").data<float>();
  const int entries = static_cast<int>(pooled.shape[0]);
  ASSERT_EQ(entries, set.kv.shape[0] / set.ratio);
  double worst = 0;  // in parts of the tolerance
  double worst_normed = 0;
  for (int e = 0; e < entries; ++e) {
    std::vector<float> row(kChannels);
    for (int c = 0; c < kChannels; ++c) {
      double magnitude = 0;
      row[c] = set.Pool(e, c, &magnitude);
      const double error = std::abs(row[c] - pooled.data<float>()[e * kChannels + c]);
      worst = std::max(worst, error / (4e-6 * magnitude));
    }
    const float scale = RmsScale<kChannels>(SquaresByNeighbours(row), eps);
    double largest = 0;
    double error = 0;
    for (int c = 0; c < kChannels; ++c) {
      const float exact = normed.data<float>()[e * kChannels + c];
      const float weight = FloatFromBf16(set.weight.data<uint16_t>()[c]);
      largest = std::max<double>(largest, std::abs(exact));
      error = std::max<double>(error, std::abs(Normed(row[c], scale, weight) - exact));
    }
    worst_normed = std::max(worst_normed, error / (1e-5 * largest));
  }
  EXPECT_LT(worst, 1.0);
  EXPECT_LT(worst_normed, 1.0);
  ::testing::Test::RecordProperty("pooled_error_of_tolerance", std::to_string(worst));
  ::testing::Test::RecordProperty("normed_error_of_tolerance", std::to_string(worst_normed));
}

TEST_F(CompressMathTest, CsaPoolsAndNormsAsTheReference) { ExpectGolden<512>("compress_csa"); }
TEST_F(CompressMathTest, CsaIndexerPoolsAndNormsAsTheReference) {
  ExpectGolden<128>("compress_csa_indexer");
}
TEST_F(CompressMathTest, HcaPoolsAndNormsAsTheReference) { ExpectGolden<512>("compress_hca"); }

TEST_F(CompressMathTest, HadamardIsTheReferences) {
  const NpyArray keys = Golden("hadamard128/k");
  const NpyArray rotated = Golden("hadamard128/rotated");
  for (int64_t row = 0; row < keys.shape[0]; ++row) {
    float values[kIndexerChannels];
    float split[kIndexerChannels];  // pair by pair, as a device does it
    for (int c = 0; c < kIndexerChannels; ++c) {
      split[c] = values[c] = FloatFromBf16(keys.data<uint16_t>()[row * kIndexerChannels + c]);
    }
    HadamardSteps<kIndexerChannels>(values);
    for (int distance = 1; distance < kIndexerChannels; distance *= 2) {
      float next[kIndexerChannels];
      for (int c = 0; c < kIndexerChannels; ++c) {
        next[c] = HadamardPair(split[c], split[c ^ distance], (c & distance) != 0);
      }
      std::copy(std::begin(next), std::end(next), split);
    }
    const float* exact = rotated.data<float>() + row * kIndexerChannels;
    float largest = 0;
    for (int c = 0; c < kIndexerChannels; ++c) largest = std::max(largest, std::abs(exact[c]));
    for (int c = 0; c < kIndexerChannels; ++c) {
      EXPECT_EQ(values[c], split[c]);
      ASSERT_LE(std::abs(MulRn(values[c], kHadamardScale) - exact[c]), 1e-5 * largest)
          << "row " << row << ", channel " << c;
    }
  }
}

TEST(CompressStateTest, PagesAreAsSmallAsTheyAreSaidToBe) {
  const CsaStateLayout csa = {.indexer_channels = kIndexerChannels, .max_drafts = 0};
  EXPECT_EQ(csa.row_floats() * sizeof(float), 5120u);
  EXPECT_EQ(csa.page_bytes(), 60 << 10);
  EXPECT_EQ(csa.overlap_page_bytes(), 20 << 10);
  const HcaStateLayout hca = {.max_drafts = 0};
  EXPECT_EQ(hca.page_bytes(), (12 << 10) + 32);
  const CsaStateLayout csa_drafts = {.indexer_channels = kIndexerChannels, .max_drafts = 4};
  EXPECT_EQ(csa_drafts.page_bytes(), 100 << 10);
  EXPECT_EQ((HcaStateLayout{.max_drafts = 4}).page_bytes(), (28 << 10) + 32);
  EXPECT_EQ((CsaStateLayout{.indexer_channels = 0, .max_drafts = 0}).page_bytes(), 48 << 10);
}

}  // namespace
}  // namespace terrace::testing
