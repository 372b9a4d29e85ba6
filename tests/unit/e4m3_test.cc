#include "terrace/formats/e4m3.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/ue8m0.h"

namespace terrace::testing {
namespace {

// The value of a code, from the definition, in double.
double ReferenceValue(int code) {
  const int exponent = (code >> 3) & 15;
  const int mantissa = code & 7;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return (code & 0x80) != 0 ? -magnitude : magnitude;
}

// The nearest code by search: of two equally near, the one whose last bit is 0.
int ReferenceCode(float value) {
  if (std::isnan(value)) return 0x7F;
  // Beyond 512 the nearest is 448; farther out a double no longer tells the distances apart.
  const double magnitude = std::fmin(std::fabs(static_cast<double>(value)), 512);
  int best = 0;
  for (int code = 1; code <= 0x7E; ++code) {
    const double distance = std::fabs(magnitude - ReferenceValue(code));
    const double least = std::fabs(magnitude - ReferenceValue(best));
    if (distance < least || (distance == least && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(value) ? 0x80 : 0);
}

void ExpectReferenceCode(float value) {
  ASSERT_EQ(E4m3FromFloatSoftware(value), ReferenceCode(value)) << value;
  ASSERT_EQ(E4m3FromFloat(value), ReferenceCode(value)) << value;
  if (std::fabs(value) < 0x1p30f) {
    ASSERT_EQ(E4m3FromBoundedFloat(value), ReferenceCode(value)) << value;
  }
}

TEST(E4m3Test, EveryCodeHasTheValueOfTheDefinition) {
  for (int code = 0; code < 256; ++code) {
    const float value = FloatFromE4m3(static_cast<uint8_t>(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(value)) << code;
      continue;
    }
    EXPECT_EQ(value, ReferenceValue(code)) << code;
    EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
    EXPECT_EQ(E4m3FromFloat(value), code);
  }
  EXPECT_EQ(FloatFromE4m3(0x7E), kE4m3Largest);
}

TEST(E4m3Test, EveryBf16IsRoundedToTheNearestCode) {
  for (int bits = 0; bits < 65536; ++bits) {
    ExpectReferenceCode(FloatFromBf16(static_cast<uint16_t>(bits)));
  }
}

TEST(E4m3Test, TiesGoToTheEvenCodeAndTheirNeighboursToTheNearest) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int code = 0; code < 0x7F; ++code) {
    // For the last code: between 448 and the value that would follow it.
    const double above = code == 0x7E ? 480 : ReferenceValue(code + 1);
    const float tie = static_cast<float>((ReferenceValue(code) + above) / 2);
    for (const float edge : {tie, static_cast<float>(ReferenceValue(code))}) {
      for (const float sign : {1.0f, -1.0f}) {
        ExpectReferenceCode(sign * edge);
        ExpectReferenceCode(sign * std::nextafter(edge, infinity));
        ExpectReferenceCode(sign * std::nextafter(edge, 0.0f));
      }
    }
  }
}

TEST(E4m3Test, FloatsOfEveryExponentAndSignAreRoundedToTheNearestCode) {
  uint32_t state = 1;
  for (uint32_t top = 0; top < 512; ++top) {  // sign and exponent
    for (int i = 0; i < 64; ++i) {
      state = state * 1664525u + 1013904223u;
      ExpectReferenceCode(FloatFromBits((top << 23) | (state >> 9)));
    }
  }
}

TEST(E4m3Test, WhatIsTooLargeSaturatesAndNanIsNan) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(E4m3FromFloat(infinity), 0x7E);
  EXPECT_EQ(E4m3FromFloat(-infinity), 0xFE);
  EXPECT_EQ(E4m3FromFloat(1e9f), 0x7E);
  EXPECT_EQ(E4m3FromFloatSoftware(std::nanf("")), 0x7F);
  EXPECT_EQ(E4m3FromFloat(-0.0f), 0x80);
}

TEST(E4m3Test, ArraysAreConvertedAsSingleValuesAre) {
  constexpr int kCount = 512;
  std::vector<float> values(kCount);
  for (int i = 0; i < kCount; ++i)
    values[i] = static_cast<float>(std::ldexp(i - 256.0, i % 23 - 16));
  std::vector<uint8_t> codes(kCount);
  EncodeE4m3<kCount>(values.data(), codes.data());
  std::vector<float> decoded(kCount);
  DecodeE4m3<kCount>(codes.data(), decoded.data());
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(codes[i], ReferenceCode(values[i]));
    EXPECT_EQ(decoded[i], ReferenceValue(codes[i]));
  }
}

TEST(E4m3Test, ShiftingACodeGivesTheBf16ThatMultiplyingItByItsScaleDoes) {
  for (uint32_t exponent = kLeastE4m3Exponent; exponent <= kMostE4m3Exponent; ++exponent) {
    for (int code = 0; code < 256; ++code) {
      const float value = FloatFromE4m3(static_cast<uint8_t>(code)) * FloatFromUe8m0(exponent);
      ASSERT_EQ(Bf16FromE4m3(static_cast<uint8_t>(code), exponent), Bf16FromFloatSoftware(value))
          << "code " << code << ", scale byte " << exponent;
    }
  }
}

}  // namespace
}  // namespace terrace::testing
