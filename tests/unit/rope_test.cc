#include "terrace/formats/rope.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/golden.h"

namespace terrace::testing {
namespace {

class RopeTest : public GoldenTest {};

std::vector<uint32_t> BitsOf(const float* row) {
  std::vector<uint32_t> bits(kRopeChannels);
  for (int i = 0; i < kRopeChannels; ++i) bits[i] = BitsFromFloat(row[i]);
  return bits;
}

void ExpectGoldenTable(const std::string& name, const std::vector<float>& table) {
  const NpyArray rows = Golden("rope/rows");
  const NpyArray golden = Golden("rope/" + name);
  for (int64_t i = 0; i < rows.shape[0]; ++i) {
    const int64_t position = rows.data<int64_t>()[i];
    EXPECT_EQ(BitsOf(table.data() + position * kRopeChannels),
              BitsOf(golden.data<float>() + i * kRopeChannels))
        << name << " at " << position;
  }
}

TEST_F(RopeTest, TheWindowTableEqualsTheGoldenRows) {
  ExpectGoldenTable("base10000", MakeRopeTable(65536, kWindowRope));
}

TEST_F(RopeTest, TheYarnTableEqualsTheGoldenRows) {
  ExpectGoldenTable("base160000_yarn16", MakeRopeTable(65536, kCompressedRope));
}

TEST_F(RopeTest, RowsInsideTheTableEqualTheOnesThatOtherVectorsUse) {
  const std::vector<float> window = MakeRopeTable(60000, kWindowRope);
  const std::vector<float> yarn = MakeRopeTable(60000, kCompressedRope);
  for (const auto& [folder, table] :
       {std::pair("flashmla_v4_page64", &window), std::pair("flashmla_v4_page16", &yarn)}) {
    const NpyArray positions = Golden(std::string(folder) + "/positions");
    const NpyArray golden = Golden(std::string(folder) + "/table");
    for (int64_t i = 0; i < positions.shape[0]; ++i) {
      EXPECT_EQ(BitsOf(table->data() + positions.data<int64_t>()[i] * kRopeChannels),
                BitsOf(golden.data<float>() + i * kRopeChannels));
    }
  }
}

TEST(RopeTableTest, ARowFilledAloneEqualsTheRowOfTheTable) {
  const std::vector<float> table = MakeRopeTable(100, kCompressedRope);
  std::vector<float> row(kRopeChannels);
  FillRopeRow(RopeFrequencies(kCompressedRope), 99, row.data());
  EXPECT_EQ(BitsOf(row.data()), BitsOf(table.data() + 99 * kRopeChannels));
}

TEST(RopeTableTest, AnEmptyTableIsEmpty) {
  EXPECT_TRUE(MakeRopeTable(0, kWindowRope).empty());
  EXPECT_TRUE(MakeRopeTable(-5, kWindowRope).empty());
}

TEST(RotatePairsTest, EachProductAndTheSumAreRoundedOnce) {
  // Values that a fused multiply-add rounds differently: the two products nearly cancel.
  const float cosine = 0.70710677f;
  const float sine = 0.70710677f;
  int fused_differs = 0;
  for (int mantissa = 0; mantissa < 128; ++mantissa) {
    const uint16_t even = static_cast<uint16_t>(0x3F80 + mantissa);
    uint16_t pair[2] = {even, even};
    RotatePairs<1>(pair, &cosine, &sine);
    EXPECT_EQ(pair[0], 0) << "even * c - odd * s cancels exactly when each product is rounded";
    const float value = FloatFromBf16(even);
    fused_differs += std::fma(value, cosine, -(value * sine)) != 0.0f;
  }
  EXPECT_GT(fused_differs, 0) << "the inputs no longer tell fused from unfused";
}

TEST(RotatePairsTest, ARotationThatOverflowsSaturates) {
  const float cosine = 0.70710677f;
  const float sine = -0.70710677f;
  uint16_t pair[2] = {kBf16Largest, kBf16Largest};
  RotatePairs<1>(pair, &cosine, &sine);
  EXPECT_EQ(pair[0], kBf16Largest);
}

TEST(RotatePairsTest, TheIdentityKeepsEveryFiniteValue) {
  const float cosine = 1.0f;
  const float sine = 0.0f;
  for (int bits = 0; bits < 65536; ++bits) {
    if ((bits & 0x7F80) == 0x7F80 || bits == 0x8000) continue;
    uint16_t pair[2] = {static_cast<uint16_t>(bits), static_cast<uint16_t>(bits)};
    RotatePairs<1>(pair, &cosine, &sine);
    ASSERT_EQ(pair[0], bits);
    ASSERT_EQ(pair[1], bits);
  }
}

}  // namespace
}  // namespace terrace::testing
