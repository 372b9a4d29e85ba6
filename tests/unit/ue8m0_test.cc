#include "terrace/formats/ue8m0.h"

#include <cmath>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

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
}  // namespace terrace::testing
