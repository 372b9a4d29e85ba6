#include "src/base/text_table.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using internal::Align;
using internal::Cells;
using internal::WithCommas;
using internal::Wrap;

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

TEST(TextTableTest, ColumnsThatDoNotFitFollowBesideTheFirst) {
  const std::vector<Cells> lines = {{"pool", "kind", "blocks", "size"}, {"a", "full", "12", "3"}};
  EXPECT_EQ(Align(lines, 2, 24), Align(lines, 2));
  EXPECT_EQ(Align(lines, 2, 23),
            "pool  kind  blocks\na     full      12\n\npool  size\na        3\n");
  // A column that is too wide stands alone.
  EXPECT_EQ(Align(lines, 2, 1),
            "pool  kind\na     full\n\npool  blocks\na         12\n\npool  size\na        3\n");
  EXPECT_EQ(Align({{"alone"}}, 1, 3), "alone\n");
}

TEST(TextTableTest, LinesAreWrappedAtSpaces) {
  EXPECT_EQ(Wrap("one two three", 0, 2), "one two three");
  EXPECT_EQ(Wrap("one two three", 13, 2), "one two three");
  EXPECT_EQ(Wrap("one two three", 12, 2), "one two\n  three");
  EXPECT_EQ(Wrap("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(Wrap("one two three", 6, 2), "one\n  two\n  three");
  EXPECT_EQ(Wrap("one,   two", 6, 0), "one,\ntwo");
  EXPECT_EQ(Wrap("a-word-that-is-wide and more", 6, 3), "a-word-that-is-wide\n   and\n   more");
  EXPECT_EQ(Wrap("it is 9.4 % of it", 10, 0), "it is\n9.4 % of\nit");
  EXPECT_EQ(Wrap("", 5, 2), "");
}

}  // namespace
}  // namespace terrace::testing
