#include "terrace/units.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

TEST(UnitsTest, SizesArePlainNumbersOrNumbersWithAUnit) {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"0", 0},
      {"4096", 4096},
      {"4096B", 4096},
      {"40GiB", int64_t{42949672960}},
      {"40 gib", int64_t{42949672960}},
      {" 1.5GiB ", 3 * kGiB / 2},
      {"40GB", int64_t{40'000'000'000}},
      {"2kB", 2000},
      {"2KiB", 2048},
      {"0.125KiB", 128},
      {"0.001kB", 1},
      {"3TiB", 3 * 1024 * kGiB},
      {"7TB", int64_t{7'000'000'000'000}},
      {"4611686018427387904", int64_t{1} << 62},
  };
  for (const auto& [text, bytes] : cases) {
    SCOPED_TRACE(text);
    const auto parsed = ParseBytes(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, bytes);
  }
}

TEST(UnitsTest, TextThatIsNoSizeIsAOneLineError) {
  for (const std::string text : {"", " ", "GiB", "-1GiB", "+1", "1..5GiB", ".5GiB", "1.GiB", "40G",
                                 "40 GiBs", "1e9", "0x10", "1 2", "1.50", "1.0000001KiB",
                                 "4611686018427387905", "99999999999TiB", "99999999999999999999"}) {
    SCOPED_TRACE(text);
    const auto parsed = ParseBytes(text);
    ASSERT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(parsed.status().message().find('\n'), absl::string_view::npos);
  }
}

TEST(UnitsTest, EveryCountOfBytesIsReadBackAsWritten) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const int64_t bytes = static_cast<int64_t>(random() >> (2 + random() % 60));
    EXPECT_EQ(ParseBytes(std::to_string(bytes)).value(), bytes);
  }
}

TEST(UnitsTest, SizesAreShownWithThreeDigitsInTheLargestUnitThatFits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(17), "17 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.00 KiB");
  EXPECT_EQ(FormatBytes(962496), "940 KiB");
  EXPECT_EQ(FormatBytes(40 * kGiB), "40.0 GiB");
  EXPECT_EQ(FormatBytes(3 * kGiB / 2), "1.50 GiB");
  EXPECT_EQ(FormatBytes(kMiB - 1), "1.00 MiB");
  EXPECT_EQ(FormatBytes(1000 * kMiB), "1000 MiB");
  EXPECT_EQ(FormatBytes(5000 * 1024 * kGiB), "5000 TiB");
  EXPECT_EQ(FormatBytes(-2 * kMiB), "-2.00 MiB");
}

TEST(UnitsTest, RoundingUpReachesTheNextMultiple) {
  EXPECT_EQ(CeilDiv(0, 7), 0);
  EXPECT_EQ(CeilDiv(14, 7), 2);
  EXPECT_EQ(CeilDiv(15, 7), 3);
  EXPECT_EQ(RoundUp(962304, 576), 962496);
}

}  // namespace
}  // namespace terrace::testing
