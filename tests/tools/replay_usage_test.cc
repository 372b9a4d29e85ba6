// Bad usage, failures and help of `terrace replay`.

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/run_replay.h"
#include "tests/tools/temp_file.h"
#include "tools/terrace/commands/replay_command.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

using tools::Replay;
using tools::ReplayOptions;

using ::testing::HasSubstr;

TEST(ReplayUsageTest, CompressingWithoutStateOrDataIsBadUsage) {
  const CommandOutcome without_state = SmallReplay({"--compress", "--no-state"});
  EXPECT_EQ(without_state.exit_code, 2);
  EXPECT_THAT(without_state.err, HasSubstr("\"state\": true"));
  const CommandOutcome without_data = SmallReplay({"--compress", "--data", "none"});
  EXPECT_EQ(without_data.exit_code, 2);
  EXPECT_THAT(without_data.err, HasSubstr("--data none"));
}

TEST(ReplayUsageTest, ATruncatedTraceLineIsOneLineWithFileAndNumber) {
  const TempFile trace("_bad.jsonl");
  trace.Write("{\"timestamp\": 0, \"input_length\": 600, \"output_le");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr(trace.path() + ":1: "));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST(ReplayUsageTest, ATraceThatIsNotThereExitsWithOne) {
  const CommandOutcome outcome = SmallReplay({"--trace", "/no/such/trace"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/no/such/trace: "));
}

TEST(ReplayUsageTest, BadUsageExitsWithTwo) {
  const std::vector<std::vector<std::string>> bad = {
      {},
      {"--memory", "forty"},
      {"--memory", "1GiB", "--backend", "tpu"},
      {"--memory", "1GiB", "--data", "some"},
      {"--memory", "1GiB", "--model", "no-such-model"},
      {"--memory", "1GiB", "--layers", "1-99"},
      {"--memory", "1GiB", "--plot", "figure.pdf"},
      {"--memory", "1GiB", "--acceptance", "1.5"},
      {"--memory", "1GiB", "--sequences", "0"},
      {"--memory", "1GiB", "--step-ms", "-1"},
      {"--memory", "1GiB", "--step-ms", "nan"},
      {"--memory", "1GiB", "--tokens-per-second", "inf"},
      {"--memory", "1GiB", "--verify", "nan"},
      {"--memory", "1GiB", "--tokens-per-second", "0"},
      {"--memory", "1GiB", "--checkpoints", "sometimes"},
      {"--memory", "1GiB", "--checkpoints", "every:0"},
      {"--memory", "1GiB", "--checkpoints", "every:"},
      {"--memory", "1GiB", "--checkpoints", "every:300"},
      {"--memory", "1GiB", "--checkpoints", "none", "--no-reuse"},
      {"--memory", "1GiB", "--replay-limit", "-1"},
      {"--memory", "1GiB", "--replay-limit", "9999999999"},
      {"--memory", "1GiB", "--approximate-replay", "few"},
      {"--memory", "1GiB", "--in-flight", "-1"},
      {"--memory", "1GiB", "--trace", "trace.jsonl", "--rate", "2"},
      {"--memory", "1GiB", "--trace", "trace.jsonl", "--requests", "2"},
      {"--memory", "1GiB", "--serial", "--sequences", "2"},
      {"--memory", "1GiB", "--data", "none", "--verify", "1"},
      {"--memory", "1GiB", "--data", "none", "--layers", "all"},
      {"--memory", "1GiB", "--drafts", "8", "--step-tokens", "8"},
      {"--memory", "1GiB", "--no-such-option"},
  };
  for (const auto& arguments : bad) {
    const CommandOutcome outcome = RunReplay(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_NE(outcome.err, "");
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(ReplayUsageTest, TimesThatAreNoneAreNamedWithTheirOptions) {
  const auto error = [](double step_ms, double tokens_per_second) {
    ReplayOptions options;
    options.scheduler.step_ms = step_ms;
    options.scheduler.tokens_per_second = tokens_per_second;
    const absl::Status status = Replay({}, options).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(error(-1, 50),
            "--step-ms must be >= 0 and --tokens-per-second > 0, both finite; got -1 and 50");
  EXPECT_EQ(error(10, 0),
            "--step-ms must be >= 0 and --tokens-per-second > 0, both finite; got 10 and 0");
  EXPECT_THAT(error(std::numeric_limits<double>::quiet_NaN(), 50), HasSubstr("got nan and 50"));
  EXPECT_THAT(error(10, std::numeric_limits<double>::infinity()), HasSubstr("got 10 and inf"));
}

TEST(ReplayUsageTest, MemoryThatHoldsNothingExitsWithOneAndSaysHowMuchItTakes) {
  const CommandOutcome outcome = RunReplay({"--memory", "1MiB", "--data", "none"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("MiB"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST(ReplayUsageTest, RequestsThatNeverFitAreReported) {
  const TempFile trace("_large.jsonl");
  trace.Write(
      "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 2}\n"
      "{\"timestamp\": 0, \"input_length\": 2000000, \"output_length\": 2}\n");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path(), "--data", "none"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("completed 1, failed 1"));
  EXPECT_THAT(outcome.err, HasSubstr("1 requests can never fit"));
}

TEST(ReplayUsageTest, HelpShowsExamplesAndExitCodes) {
  CLI::App app;
  int exit_code = 0;
  AddReplayCommand(app, &exit_code);
  const std::string help = app.get_subcommand("replay")->help();
  EXPECT_THAT(help, HasSubstr("Examples:"));
  EXPECT_THAT(help, HasSubstr("Exit code"));
  for (const char* option :
       {"--trace", "--model", "--memory", "--sequences", "--backend", "--data", "--layers",
        "--json", "--plot", "--serial", "--step-ms", "--tokens-per-second", "--step-tokens",
        "--no-reuse", "--checkpoints", "--replay-limit", "--approximate-replay", "--in-flight",
        "--compress"}) {
    EXPECT_THAT(help, HasSubstr(option));
  }
}

}  // namespace
}  // namespace terrace::testing
