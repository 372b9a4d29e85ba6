#include "terrace/formats/e2m1.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"

namespace terrace::testing {
namespace {

constexpr double kValues[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

// The nearest code by search: of two equally near, the one whose last bit is 0.
int ReferenceCode(float value) {
  // Beyond 8 the nearest is 6; farther out a double no longer tells the distances apart.
  const double magnitude = std::fmin(std::fabs(static_cast<double>(value)), 8);
  int best = 0;
  for (int code = 1; code < 8; ++code) {
    const double distance = std::fabs(magnitude - kValues[code]);
    const double least = std::fabs(magnitude - kValues[best]);
    if (distance < least || (distance == least && code % 2 == 0)) best = code;
  }
  return best | (std::signbit(value) ? 8 : 0);
}

void ExpectReferenceCode(float value) {
  ASSERT_EQ(E2m1FromFloatSoftware(value), ReferenceCode(value)) << value;
}

TEST(E2m1Test, EveryCodeHasTheValueOfTheDefinition) {
  for (int code = 0; code < 16; ++code) {
    const float value = FloatFromE2m1(code);
    EXPECT_EQ(value, code < 8 ? kValues[code] : -kValues[code - 8]);
    EXPECT_EQ(std::signbit(value), code >= 8);
    EXPECT_EQ(E2m1FromFloatSoftware(value), code);
  }
}

TEST(E2m1Test, EveryBf16IsRoundedToTheNearestCode) {
  for (int bits = 0; bits < 65536; ++bits) {
    const float value = FloatFromBf16(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) ExpectReferenceCode(value);
  }
}

TEST(E2m1Test, TiesGoToTheEvenCodeAndTheirNeighboursToTheNearest) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (int code = 0; code < 8; ++code) {
    const double above = code == 7 ? 8 : kValues[code + 1];
    const float tie = static_cast<float>((kValues[code] + above) / 2);
    for (const float edge : {tie, static_cast<float>(kValues[code])}) {
      for (const float sign : {1.0f, -1.0f}) {
        ExpectReferenceCode(sign * edge);
        ExpectReferenceCode(sign * std::nextafter(edge, infinity));
        ExpectReferenceCode(sign * std::nextafter(edge, 0.0f));
      }
    }
  }
  EXPECT_EQ(E2m1FromFloatSoftware(0.25f), 0);  // 0 and .5: 0 is even
  EXPECT_EQ(E2m1FromFloatSoftware(0.75f), 2);  // .5 and 1
  EXPECT_EQ(E2m1FromFloatSoftware(5.0f), 6);   // 4 and 6
}

TEST(E2m1Test, FloatsOfEveryExponentAndSignAreRoundedToTheNearestCode) {
  uint32_t state = 1;
  for (uint32_t top = 0; top < 512; ++top) {  // sign and exponent
    for (int i = 0; i < 256; ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = FloatFromBits((top << 23) | (state >> 9));
      if (!std::isnan(value)) ExpectReferenceCode(value);
    }
  }
}

TEST(E2m1Test, TheEvenChannelIsInTheLowNibble) {
  const float values[4] = {0.5f, -6.0f, -0.0f, 1.5f};
  uint8_t packed[2];
  EncodeE2m1<4>(values, packed);
  EXPECT_EQ(packed[0], 0xF1);
  EXPECT_EQ(packed[1], 0x38);
}

TEST(E2m1Test, EveryByteDecodesToItsTwoCodes) {
  std::vector<uint8_t> packed(256);
  for (int byte = 0; byte < 256; ++byte) packed[byte] = static_cast<uint8_t>(byte);
  std::vector<float> values(512);
  DecodeE2m1<512>(packed.data(), values.data());
  std::vector<uint8_t> again(256);
  EncodeE2m1<512>(values.data(), again.data());
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(values[2 * byte], FloatFromE2m1(byte & 15));
    EXPECT_EQ(values[2 * byte + 1], FloatFromE2m1(byte >> 4));
  }
  EXPECT_EQ(again, packed);
}

}  // namespace
}  // namespace terrace::testing
