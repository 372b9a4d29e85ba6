#include "tools/terrace/commands/option_names.h"

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using tools::NameOptions;
using tools::WithOptionNames;

TEST(OptionNamesTest, FieldsBecomeOptionsAndOtherWordsStay) {
  EXPECT_EQ(WithOptionNames("max_drafts is 64, not in 0..4 (max_step_tokens - 1)"),
            "--drafts is 64, not in 0..4 (--step-tokens - 1)");
  EXPECT_EQ(WithOptionNames("my_max_drafts, max_drafts2 and drafts stay"),
            "my_max_drafts, max_drafts2 and drafts stay");
  EXPECT_EQ(WithOptionNames("max_sequences"), "--sequences");
  EXPECT_EQ(WithOptionNames(""), "");
}

TEST(OptionNamesTest, AStatusKeepsItsCodeAndMemoryIsNamed) {
  EXPECT_TRUE(NameOptions(absl::OkStatus()).ok());
  EXPECT_EQ(NameOptions(absl::InvalidArgumentError("prefill_sequences is 9")),
            absl::InvalidArgumentError("--prefill-sequences is 9"));
  EXPECT_EQ(NameOptions(absl::OutOfRangeError("8 bytes are too few")),
            absl::OutOfRangeError("--memory: 8 bytes are too few"));
}

}  // namespace
}  // namespace terrace::testing
