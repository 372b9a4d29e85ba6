#include "tools/terrace/commands/output_files.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/run_replay.h"
#include "tests/tools/temp_file.h"

namespace terrace::testing {
namespace {

using tools::CheckOutputs;

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

absl::Status Check(const std::string& path) { return CheckOutputs({{"--json", path}}, {}); }

TEST(OutputFilesTest, WhatCannotBeWrittenIsNamedWithItsOptionAndReason) {
  EXPECT_EQ(Check("/no/such/x.json").message(),
            "--json: cannot write /no/such/x.json: there is no folder /no/such");
  EXPECT_EQ(Check("/tmp").message(), "--json: cannot write /tmp: it is a folder");
  EXPECT_THAT(std::string(Check("/tmp/").message()), StartsWith("--json: cannot write /tmp/: "));
  EXPECT_THAT(std::string(Check("/proc/version/x").message()), HasSubstr("no folder"));
  EXPECT_TRUE(absl::IsUnavailable(Check("/no/such/")));
}

TEST(OutputFilesTest, WhatCanBeWrittenIsLeftAsItIs) {
  const TempFile file("_output");
  EXPECT_TRUE(Check(file.path()).ok());
  EXPECT_NE(access(file.path().c_str(), F_OK), 0) << "it was made";
  file.Write("old");
  EXPECT_TRUE(Check(file.path()).ok());
  EXPECT_EQ(file.Read(), "old");
  for (const char* path : {"", "-", "/dev/null", "here.json", "./here.json"}) {
    EXPECT_TRUE(Check(path).ok()) << path;
  }
}

TEST(OutputFilesTest, AFileIsOneThing) {
  const TempFile file("_input");
  file.Write("input");
  const auto message = [](const absl::Status& status) { return std::string(status.message()); };
  const absl::Status input = CheckOutputs({{"--json", file.path()}}, {{"--trace", file.path()}});
  EXPECT_TRUE(absl::IsInvalidArgument(input));
  EXPECT_THAT(message(input), HasSubstr("is the file of --trace too"));
  EXPECT_THAT(message(CheckOutputs({{"--json", "x.svg"}, {"--plot", "./x.svg"}}, {})),
              HasSubstr("--plot: ./x.svg is the file of --json too"));
  EXPECT_TRUE(CheckOutputs({{"--json", "/dev/null"}, {"--plot", "/dev/null"}}, {}).ok());
  EXPECT_TRUE(CheckOutputs({{"--json", "-"}, {"--plot", "x.svg"}}, {{"--trace", ""}}).ok());
}

TEST(OutputFilesTest, AReplayLooksBeforeItRuns) {
  // A run of so many requests would take long.
  const CommandOutcome outcome = RunReplay(
      {"--memory", "1TiB", "--data", "none", "--requests", "9999999", "--json", "/no/such/x.json"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("--json: cannot write /no/such/x.json"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("requests")));
  const CommandOutcome twice =
      SmallReplay({"--data", "none", "--json", "x.svg", "--plot", "x.svg"});
  EXPECT_EQ(twice.exit_code, 2);
  EXPECT_EQ(twice.out, "");
}

}  // namespace
}  // namespace terrace::testing
