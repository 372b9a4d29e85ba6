#include "src/base/text_table.h"

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using internal::Align;
using internal::WithCommas;

TEST(TextTableTest, NumbersHaveACommaBeforeEveryThreeDigits) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(123456), "123,456");
  EXPECT_EQ(WithCommas(1234567), "1,234,567");
}

TEST(TextTableTest, NegativeNumbersHaveNoCommaBehindTheirSign) {
  EXPECT_EQ(WithCommas(-1), "-1");
  EXPECT_EQ(WithCommas(-123), "-123");
  EXPECT_EQ(WithCommas(-1234), "-1,234");
  EXPECT_EQ(WithCommas(-123456), "-123,456");
  EXPECT_EQ(WithCommas(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(TextTableTest, ColumnsAreAsWideAsTheirWidestCell) {
  EXPECT_EQ(Align({{"pool", "blocks"}, {"window", "7"}, {"csa"}}, 1),
            "pool    blocks\n"
            "window       7\n"
            "csa\n");
}

}  // namespace
}  // namespace terrace::testing
