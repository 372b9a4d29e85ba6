#include "terrace/formats/bf16.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

// Round to nearest even by choosing between the two bf16 around a finite value, in double.
uint16_t ReferenceBf16(float value) {
  const uint32_t bits = BitsFromFloat(std::fabs(value));
  const uint16_t below = static_cast<uint16_t>(bits >> 16);
  if (below >= kBf16Largest) return kBf16Largest;
  const uint16_t above = static_cast<uint16_t>(below + 1);
  const double to_below = std::fabs(value) - static_cast<double>(FloatFromBf16(below));
  const double to_above = static_cast<double>(FloatFromBf16(above)) - std::fabs(value);
  if (to_below == to_above) return below % 2 == 0 ? below : above;
  return to_below < to_above ? below : above;
}

TEST(Bf16Test, EveryFiniteBf16SurvivesTheRoundTrip) {
  for (int bits = 0; bits < 65536; ++bits) {
    const uint16_t bf16 = static_cast<uint16_t>(bits);
    if ((bf16 & 0x7F80) == 0x7F80) continue;
    EXPECT_EQ(Bf16FromFloat(FloatFromBf16(bf16)), bf16);
  }
}

TEST(Bf16Test, FloatsBetweenTwoBf16GoToTheNearestAndTiesToTheEvenOne) {
  for (uint32_t high = 0; high < 0x7F80; ++high) {
    for (const uint32_t low : {0x0001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const float value = FloatFromBits((high << 16) | low);
      ASSERT_EQ(Bf16FromFloat(value), ReferenceBf16(value)) << value;
      ASSERT_EQ(Bf16FromFloat(-value), ReferenceBf16(value) | 0x8000) << value;
    }
  }
}

TEST(Bf16Test, WhatIsTooLargeSaturatesAndNanStaysNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Bf16FromFloat(infinity), kBf16Largest);
  EXPECT_EQ(Bf16FromFloat(-infinity), 0x8000 | kBf16Largest);
  EXPECT_EQ(Bf16FromFloat(std::numeric_limits<float>::max()), kBf16Largest);
  for (const uint32_t nan : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF800001u, 0xFFFFFFFFu}) {
    EXPECT_EQ(Bf16FromFloat(FloatFromBits(nan)), kBf16NaN);
  }
}

TEST(Bf16Test, SanitizingReplacesEveryBadValueAndCountsIt) {
  std::vector<uint16_t> channels(65536);
  for (int bits = 0; bits < 65536; ++bits) channels[bits] = static_cast<uint16_t>(bits);
  int bad = 0;
  for (int first = 0; first < 65536; first += 512)
    bad += SanitizeBf16<512>(channels.data() + first);
  EXPECT_EQ(bad, 256);  // 2 infinities and 254 NaN
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = FloatFromBf16(static_cast<uint16_t>(bits));
    const uint16_t expected = std::isnan(value)   ? 0
                              : std::isinf(value) ? static_cast<uint16_t>(bits - 1)
                                                  : static_cast<uint16_t>(bits);
    ASSERT_EQ(channels[bits], expected) << bits;
  }
}

TEST(Bf16Test, TheLargestMagnitudeIgnoresSigns) {
  const uint16_t channels[16] = {0x3F80, 0xC000, 0x3F00, 0x8000};
  EXPECT_EQ(LargestMagnitudeBf16<16>(channels), 0x4000);
  const uint16_t zeros[16] = {0x8000};
  EXPECT_EQ(LargestMagnitudeBf16<16>(zeros), 0);
}

}  // namespace
}  // namespace terrace::testing
