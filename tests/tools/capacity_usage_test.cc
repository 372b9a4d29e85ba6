// Bad usage and failures of `terrace capacity`.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/model.h"
#include "tests/tools/capacity_fixture.h"
#include "tests/tools/command_outcome.h"
#include "tools/terrace/commands/model_json.h"

namespace terrace::testing {
namespace {

using tools::ModelToJson;

using ::testing::HasSubstr;

class CapacityUsageTest : public CapacityFixture {};

TEST_F(CapacityUsageTest, BadUsageExitsWith2AndOneLineThatSaysWhatToDo) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--memory is required"},
      {{"--memory", "4x"}, "write for example 40GiB"},
      {{"--memory", "1GiB", "--model", "nope"}, "known are deepseek-v4-flash"},
      {{"--memory", "1GiB", "--latent-format", "fp7"}, "flashmla_v4"},
      {{"--memory", "1GiB", "--layout", "diagonal"}, "block-major or layer-major"},
      {{"--memory", "1GiB", "--sequences", "0"},
       "--sequences: \"0\" is not a whole number from 1 to 1048576"},
      {{"--memory", "1GiB", "--sequences", "x"}, "--sequences"},
      {{"--memory", "1GiB", "--checkpoint-count", "-2"}, "--checkpoint-count: \"-2\" is not"},
      {{"--memory", "1GiB", "--in-flight", "-1"}, "--in-flight: \"-1\" is not"},
      {{"--memory", "1GiB", "--swa-block", "48"}, "--swa-block: \"48\" is not a power of two"},
      {{"--memory", "1GiB", "--latent-format", "indexer_fp8"}, "--latent-format: indexer_fp8 has"},
      {{"--memory", "1GiB", "--indexer-format", "nvfp4"}, "--indexer-format: nvfp4 has"},
      {{"--memory", "1GiB", "--context", "2000000"}, "--context is 2000000, not in 0..1048576"},
      {{"--memory", "1GiB", "--drafts", "9", "--step-tokens", "9"}, "--drafts is 9, not in 0..8"},
      {{"--memory", "1GiB", "--sequences", "8", "--prefill-sequences", "9"},
       "--prefill-sequences is 9, not in 0..8 (--sequences)"},
      {{"--memory", "1GiB", "--no-reuse", "--checkpoint-count", "3"}, "--no-reuse"},
      {{"--memory", "1GiB", "--no-such-flag"}, "--no-such-flag"},
  };
  for (const auto& [arguments, message] : cases) {
    std::vector<std::string> all = {"capacity"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    const CommandOutcome outcome = Terrace(all);
    EXPECT_EQ(outcome.exit_code, 2) << message;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(CapacityUsageTest, ABadModelFileIsAnErrorThatNamesTheFileAndTheKey) {
  WriteFile(R"({"ratios": [4], "topk": 3})");
  const CommandOutcome unknown_key = Terrace({"capacity", "--model", path_, "--memory", "1GiB"});
  EXPECT_EQ(unknown_key.exit_code, 2);
  EXPECT_THAT(unknown_key.err, HasSubstr(path_ + ": unknown key \"topk\""));
  WriteFile("");
  EXPECT_THAT(Terrace({"capacity", "--model", path_, "--memory", "1GiB"}).err, HasSubstr("empty"));
  WriteFile(ModelToJson(DeepSeekV4Flash()).dump());
  EXPECT_THAT(
      Terrace({"capacity", "--model", path_, "--memory", "1GiB", "--layout", "layer-major"}).err,
      HasSubstr("lists its pools"));
}

TEST_F(CapacityUsageTest, MemoryThatIsTooSmallExitsWith1AndSaysHowMuchItTakes) {
  const CommandOutcome outcome = Terrace({"capacity", "--memory", "100MiB"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("give at least"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1);
  // Where fewer sequences do, it says how many.
  EXPECT_THAT(Terrace({"capacity", "--memory", "1GiB", "--sequences", "4096"}).err,
              ::testing::ContainsRegex("--sequences [1-9][0-9]* fit"));
}

TEST_F(CapacityUsageTest, AFileThatCannotBeWrittenExitsWith1) {
  const CommandOutcome outcome =
      Terrace({"capacity", "--memory", "4GiB", "--json", "/no/such/folder/capacity"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write /no/such/folder/capacity"));
}

}  // namespace
}  // namespace terrace::testing
