// The scales of the row formats against their definitions, for every largest magnitude that a group
// can have, and against every value that they can meet.

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "terrace/formats/row_codec.h"

namespace terrace::testing {
namespace {

constexpr int kInfinityBits = 0x7F80;  // the finite bf16 magnitudes have smaller bits

// The smallest e with fl32(amax / top) <= 2^e, at most `most`, by frexp.
int ReferenceExponent(float amax, float top, int most) {
  int exponent = 0;
  const float quotient = amax / top;
  if (std::frexp(quotient, &exponent) == 0.5f) --exponent;
  return std::min(exponent, most);
}

TEST(RowScaleTest, PowerOfTwoScalesOfE4m3FollowTheDefinitionForEveryMagnitude) {
  for (int bits = 0; bits < kInfinityBits; ++bits) {
    const uint16_t largest = static_cast<uint16_t>(bits);
    const int e = ReferenceExponent(std::max(1e-4f, FloatFromBf16(largest)), 448.0f, 119);
    const GroupScale latent = MakeGroupScale<RowFormat::kFlashMlaV4>(6, largest, 1.0f);
    ASSERT_EQ(latent.stored, static_cast<uint32_t>(e + 127)) << bits;
    ASSERT_EQ(latent.factor, std::ldexp(1.0f, -e));
    ASSERT_EQ(MakeGroupScale<RowFormat::kMxfp8V41>(15, largest, 1.0f).stored, latent.stored);
    const GroupScale indexer = MakeGroupScale<RowFormat::kIndexerFp8>(0, largest, 1.0f);
    ASSERT_EQ(FloatFromBits(indexer.stored), std::ldexp(1.0f, e));
    // Every code of this scale decodes to a finite bf16.
    ASSERT_LT(Bf16FromFloat(448.0f * std::ldexp(1.0f, e)), kBf16Largest);
  }
}

TEST(RowScaleTest, PowerOfTwoScalesOfE2m1FollowTheDefinitionForEveryMagnitude) {
  for (int bits = 0; bits < kInfinityBits; ++bits) {
    const uint16_t largest = static_cast<uint16_t>(bits);
    const float amax = std::max(6 * 0x1p-126f, FloatFromBf16(largest));
    const int e = ReferenceExponent(amax, 6.0f, 125);
    const GroupScale scale = MakeGroupScale<RowFormat::kIndexerMxfp4>(3, largest, 1.0f);
    ASSERT_EQ(scale.stored, static_cast<uint32_t>(e + 127)) << bits;
    ASSERT_EQ(scale.factor, std::ldexp(1.0f, -e));
  }
}

TEST(RowScaleTest, TheRopeGroupOfFlashMlaHasAZeroScaleByte) {
  EXPECT_EQ(MakeGroupScale<RowFormat::kFlashMlaV4>(7, 0x3F80, 1.0f).stored, 0u);
}

TEST(RowScaleTest, Fp8PerTokenScalesFollowTheDefinitionForEveryMagnitude) {
  for (int bits = 0; bits < kInfinityBits; ++bits) {
    const uint16_t largest = static_cast<uint16_t>(bits);
    const float amax = std::max(1e-12f, FloatFromBf16(largest));
    const GroupScale scale = MakeGroupScale<RowFormat::kFp8PerToken>(0, largest, 1.0f);
    ASSERT_EQ(scale.factor, 448.0f / amax);
    ASSERT_EQ(scale.stored, Bf16FromFloat(amax / 448.0f));
  }
}

TEST(RowScaleTest, Nvfp4ScalesFollowTheDefinitionForEveryMagnitude) {
  for (const float global_scale : {1.0f, 0.7f, 3e-4f, 1e30f}) {
    for (int bits = 0; bits < kInfinityBits; ++bits) {
      const uint16_t largest = static_cast<uint16_t>(bits);
      const float wanted = FloatFromBf16(largest) / 6.0f / global_scale;
      const uint8_t code = E4m3FromFloatSoftware(std::clamp(wanted, 0x1p-9f, 448.0f));
      const GroupScale scale = MakeGroupScale<RowFormat::kNvfp4>(0, largest, global_scale);
      ASSERT_EQ(scale.stored, code) << bits;
      ASSERT_EQ(scale.factor, FloatFromE4m3(code) * global_scale);
    }
  }
}

TEST(RowScaleTest, MultiplyingByThePowerOfTwoGivesTheCodesOfTheDivision) {
  for (uint32_t byte = 1; byte <= 252; ++byte) {  // all that a group can have
    for (int bits = 0; bits < kInfinityBits; ++bits) {
      const float value = FloatFromBf16(static_cast<uint16_t>(bits));
      const float quotient = value / FloatFromUe8m0(byte);
      ASSERT_EQ(value * InverseUe8m0(byte), quotient) << bits << " at " << byte;
    }
  }
}

}  // namespace
}  // namespace terrace::testing
