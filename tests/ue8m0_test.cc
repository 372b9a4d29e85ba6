#include "terrace/ue8m0.h"

#include <cmath>

#include "gtest/gtest.h"

namespace terrace {
namespace {

// The smallest e with value <= 2^e, by frexp: value = m * 2^e with .5 <= m < 1.
int ReferenceExponent(float value) {
  int exponent = 0;
  const double mantissa = std::frexp(static_cast<double>(value), &exponent);
  return mantissa == 0.5 ? exponent - 1 : exponent;
}

TEST(Ue8m0Test, TheSmallestPowerOfTwoNotBelowAValueIsThatOfFrexp) {
  for (uint32_t exponent = 1; exponent <= 253; ++exponent) {
    const uint32_t power = exponent << 23;
    for (const uint32_t mantissa : {0x000000u, 0x000001u, 0x000002u, 0x3FFFFFu, 0x400000u,
                                    0x400001u, 0x600000u, 0x7FFFFEu, 0x7FFFFFu}) {
      const float value = FloatFromBits(power | mantissa);
      const int32_t byte = Ue8m0AtLeast(value);
      ASSERT_EQ(byte, ReferenceExponent(value) + 127) << value;
      EXPECT_LE(value, FloatFromUe8m0(static_cast<uint32_t>(byte)));
    }
  }
}

TEST(Ue8m0Test, EveryByteIsThePowerOfTwoOfTheDefinition) {
  for (int byte = 0; byte < 255; ++byte) {
    EXPECT_EQ(FloatFromUe8m0(static_cast<uint32_t>(byte)), std::ldexp(1.0, byte - 127));
  }
  EXPECT_TRUE(std::isnan(FloatFromUe8m0(255)));
}

TEST(Ue8m0Test, TheInverseIsExact) {
  for (uint32_t byte = 1; byte <= 253; ++byte) {
    EXPECT_EQ(InverseUe8m0(byte) * FloatFromUe8m0(byte), 1.0f);
  }
}

}  // namespace
}  // namespace terrace
