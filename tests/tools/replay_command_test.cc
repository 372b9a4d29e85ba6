#include "tools/terrace/commands/replay_command.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/run_command.h"
#include "tools/terrace/report/plot.h"
#include "tools/terrace/report/progress.h"

namespace terrace::testing {
namespace {

using tools::AddReplayCommand;
using tools::CheckPlot;
using tools::Progress;
using tools::SchedulerStats;
using tools::WithCommas;

using nlohmann::json;
using ::testing::HasSubstr;

CommandOutcome Replay(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "replay");
  return RunCommand(&AddReplayCommand, arguments);
}

const std::vector<std::string> kSmall = {"--memory",    "1GiB", "--requests", "12",
                                         "--sequences", "8",    "--backend",  "host"};

CommandOutcome SmallReplay(const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = kSmall;
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Replay(arguments);
}

class TempFile {
 public:
  explicit TempFile(const std::string& ending)
      : path_(::testing::TempDir() + "terrace_replay_" + std::to_string(getpid()) + ending) {}
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }
  void Write(const std::string& text) const { std::ofstream(path_) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

 private:
  std::string path_;
};

TEST(ReplayCommandTest, TheSummarySaysThatNoRowIsWrong) {
  const CommandOutcome outcome = SmallReplay();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("completed 12, failed 0"));
  EXPECT_THAT(outcome.out, HasSubstr(", corrupt 0"));
  EXPECT_THAT(outcome.out, HasSubstr("layers 1 to 3 of 43"));
  for (const char* pool : {"swa", "csa", "hca"}) EXPECT_THAT(outcome.out, HasSubstr(pool));
}

TEST(ReplayCommandTest, TheJsonHasEveryPromisedKey) {
  const CommandOutcome outcome = SmallReplay({"--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  for (const char* key : {"requests",
                          "completed",
                          "failed",
                          "preemptions",
                          "steps",
                          "sequence_steps",
                          "prompt_tokens",
                          "decode_tokens",
                          "ledger_decode_ns_per_sequence_step",
                          "ledger_prefill_ns_per_token",
                          "wall_seconds",
                          "verified_rows",
                          "corrupt_rows",
                          "verified_entries",
                          "largest_entry_error",
                          "leaked_blocks",
                          "verified_by_class",
                          "peak_memory_bytes",
                          "matched_tokens",
                          "resumed_tokens",
                          "replayed_tokens",
                          "saved_tokens",
                          "checkpoint_bytes_peak",
                          "evicted_chunks",
                          "prefix"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
  EXPECT_EQ(result["requests"], 12);
  EXPECT_EQ(result["completed"], 12);
  EXPECT_EQ(result["corrupt_rows"], 0);
  EXPECT_EQ(result["leaked_blocks"], 0);
  EXPECT_GT(result["verified_rows"], 1000);
  EXPECT_EQ(result["verified_entries"], 0);
  EXPECT_GT(result["ledger_decode_ns_per_sequence_step"], 0);
  EXPECT_GT(result["ledger_prefill_ns_per_token"], 0);
  EXPECT_GT(result["matched_tokens"], 0);
  EXPECT_EQ(result["prefix"]["matched_tokens"], result["matched_tokens"]);
  EXPECT_GT(result["checkpoint_bytes_peak"], 0);
  ASSERT_EQ(result["pools"].size(), 6);
  int64_t bytes = 0;
  for (const json& pool : result["pools"]) {
    EXPECT_LE(pool["peak_live_blocks"], pool["capacity_blocks"]);
    EXPECT_GT(pool["peak_live_blocks"].get<int>() + pool["peak_cached_blocks"].get<int>(), 0);
    bytes += pool["capacity_blocks"].get<int64_t>() * pool["block_bytes"].get<int64_t>();
  }
  EXPECT_EQ(result["pools"][1]["name"], "csa");
  EXPECT_LE(bytes, int64_t{1} << 30);
  EXPECT_GT(bytes, int64_t{1000} << 20);
}

TEST(ReplayCommandTest, CompressedEntriesAreCountedWithTheirLargestError) {
  const TempFile model("_state.json");
  model.Write("{\"ratios\": [0, 4, 128], \"state\": true}");
  const TempFile figures("_compress.json");
  const CommandOutcome outcome =
      Replay({"--memory", "1GiB", "--requests", "4", "--sequences", "8", "--backend", "host",
              "--compress", "--drafts", "3", "--json", figures.path()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("largest error 0."));
  EXPECT_THAT(outcome.out, HasSubstr("csa_state"));
  const json result = json::parse(figures.Read());
  EXPECT_GT(result["verified_entries"], 100);
  EXPECT_LT(result["verified_entries"], result["verified_rows"]);
  EXPECT_LE(result["largest_entry_error"], 1);
  EXPECT_EQ(result["corrupt_rows"], 0);
}

TEST(ReplayCommandTest, CompressingWithoutStateOrDataIsBadUsage) {
  const CommandOutcome without_state = SmallReplay({"--compress", "--no-state"});
  EXPECT_EQ(without_state.exit_code, 2);
  EXPECT_THAT(without_state.err, HasSubstr("\"state\": true"));
  const CommandOutcome without_data = SmallReplay({"--compress", "--data", "none"});
  EXPECT_EQ(without_data.exit_code, 2);
  EXPECT_THAT(without_data.err, HasSubstr("--data none"));
}

TEST(ReplayCommandTest, ATraceIsServedFromItsFile) {
  const TempFile trace(".jsonl");
  trace.Write(
      "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 7, \"hash_ids\": [0, 1]}\n"
      "{\"timestamp\": 50, \"input_length\": 40, \"output_length\": 30, \"hash_ids\": [0]}\n");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path(), "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const json result = json::parse(outcome.out);
  EXPECT_EQ(result["prompt_tokens"], 640);
  EXPECT_EQ(result["decode_tokens"], 37);
}

TEST(ReplayCommandTest, TheSummarySaysWhatWasReused) {
  const CommandOutcome outcome = SmallReplay({"--data", "none"});
  EXPECT_THAT(outcome.out, HasSubstr("prefix         matched "));
  EXPECT_THAT(outcome.out, HasSubstr("checkpoints "));
  const CommandOutcome without = SmallReplay({"--data", "none", "--no-reuse"});
  EXPECT_EQ(without.exit_code, 0) << without.err;
  EXPECT_THAT(without.out, ::testing::Not(HasSubstr("matched")));
}

TEST(ReplayCommandTest, OptionsOfReuseReachTheRun) {
  const auto prefix = [](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--data", "none",          "--json",
                                          "-",      "--step-tokens", "90000"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandOutcome outcome = SmallReplay(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return json::parse(outcome.out)["prefix"];
  };
  EXPECT_GT(prefix({})["resumed_tokens"], 0);
  EXPECT_EQ(prefix({"--checkpoints", "none"})["stored_checkpoints"], 0);
  EXPECT_GT(prefix({"--checkpoints", "every:512"})["stored_checkpoints"],
            prefix({})["stored_checkpoints"]);
  EXPECT_EQ(prefix({"--checkpoints", "none", "--replay-limit", "0"})["matched_tokens"], 0);
  EXPECT_LT(prefix({"--checkpoints", "none", "--approximate-replay", "128"})["replayed_tokens"],
            prefix({"--checkpoints", "none"})["replayed_tokens"]);
  EXPECT_GT(prefix({"--in-flight", "3"})["matched_tokens"], 0);
}

TEST(ReplayCommandTest, ATruncatedTraceLineIsOneLineWithFileAndNumber) {
  const TempFile trace("_bad.jsonl");
  trace.Write("{\"timestamp\": 0, \"input_length\": 600, \"output_le");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path()});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr(trace.path() + ":1: "));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST(ReplayCommandTest, ATraceThatIsNotThereExitsWithOne) {
  const CommandOutcome outcome = SmallReplay({"--trace", "/no/such/trace"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("/no/such/trace: "));
}

TEST(ReplayCommandTest, BadUsageExitsWithTwo) {
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
      {"--memory", "1GiB", "--no-such-option"},
  };
  for (const auto& arguments : bad) {
    const CommandOutcome outcome = Replay(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << ::testing::PrintToString(arguments);
    EXPECT_NE(outcome.err, "");
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(ReplayCommandTest, MemoryThatHoldsNothingExitsWithOneAndSaysHowMuchItTakes) {
  const CommandOutcome outcome = Replay({"--memory", "1MiB", "--data", "none"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("MiB"));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

TEST(ReplayCommandTest, RequestsThatNeverFitAreReported) {
  const TempFile trace("_large.jsonl");
  trace.Write(
      "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 2}\n"
      "{\"timestamp\": 0, \"input_length\": 2000000, \"output_length\": 2}\n");
  const CommandOutcome outcome = SmallReplay({"--trace", trace.path(), "--data", "none"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("completed 1, failed 1"));
  EXPECT_THAT(outcome.err, HasSubstr("1 requests can never fit"));
}

TEST(ReplayCommandTest, HelpShowsExamplesAndExitCodes) {
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

class ReplayPlotTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!CheckPlot("figure.svg").ok()) GTEST_SKIP() << CheckPlot("figure.svg");
  }
};

TEST_F(ReplayPlotTest, DrawsAPanelForEveryPool) {
  const TempFile svg("_it's.svg");  // a quote, which gnuplot must be spared
  const TempFile png(".png");
  EXPECT_EQ(SmallReplay({"--plot", svg.path()}).exit_code, 0);
  EXPECT_EQ(SmallReplay({"--plot", png.path()}).exit_code, 0);
  const std::string figure = svg.Read();
  for (const char* text : {"<svg", "swa", "csa", "hca", "simulated minutes"}) {
    EXPECT_THAT(figure, HasSubstr(text));
  }
  EXPECT_EQ(png.Read().substr(1, 3), "PNG");
}

TEST_F(ReplayPlotTest, AFileThatCannotBeWrittenExitsWithOne) {
  const CommandOutcome outcome = SmallReplay({"--plot", "/no/such/folder/figure.svg"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("gnuplot failed"));
}

TEST(ReplayWithoutGnuplotTest, SaysWhatIsMissingBeforeTheRun) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", "/no/such/folder", 1);
  const CommandOutcome outcome = SmallReplay({"--plot", "figure.svg"});
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("install gnuplot"));
}

TEST(ProgressTest, NumbersHaveCommas) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1000), "1,000");
  EXPECT_EQ(WithCommas(-1234567), "-1,234,567");
  EXPECT_EQ(WithCommas(-123), "-123");
}

TEST(ProgressTest, ATerminalGetsABarThatIsErasedAtTheEnd) {
  std::FILE* out = std::tmpfile();
  Progress progress(out, /*is_terminal=*/true, 10, 1000);
  SchedulerStats stats;
  stats.completed = 5;
  stats.prompt_tokens = 500;
  usleep(120'000);  // the bar is drawn ten times a second
  progress.Update(stats);
  progress.Finish();
  std::string text(static_cast<size_t>(std::ftell(out)), ' ');
  std::rewind(out);
  ASSERT_EQ(std::fread(text.data(), 1, text.size(), out), text.size());
  std::fclose(out);
  EXPECT_THAT(text, HasSubstr("[===============               ] 5/10 requests"));
  EXPECT_THAT(text, HasSubstr("ETA 0:00"));
  EXPECT_THAT(text, ::testing::EndsWith("\r\x1b[K"));
}

}  // namespace
}  // namespace terrace::testing
