#include "tools/terrace/commands/program.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"

namespace terrace::testing {
namespace {

using tools::RunProgram;

using ::testing::HasSubstr;
using ::testing::IsEmpty;

CommandOutcome RunTerrace(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "terrace");
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int exit_code = RunProgram(static_cast<int>(arguments.size()), arguments.data(), "1.2.3");
  const std::string output = ::testing::internal::GetCapturedStdout();
  return {exit_code, output, ::testing::internal::GetCapturedStderr()};
}

TEST(ProgramTest, HelpAndVersionExitWith0) {
  const CommandOutcome help = RunTerrace({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"capacity", "replay", "encode", "decode"}) {
    EXPECT_THAT(help.out, HasSubstr(std::string("terrace ") + command));
    const CommandOutcome of_command = RunTerrace({command, "--help"});
    EXPECT_EQ(of_command.exit_code, 0);
    EXPECT_THAT(of_command.out, HasSubstr("Examples:"));
    EXPECT_THAT(of_command.err, IsEmpty());
  }
  const CommandOutcome version = RunTerrace({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.out, "terrace 1.2.3\n");
}

TEST(ProgramTest, BadUsageExitsWith2AndOneLine) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{}, "capacity, replay, encode or decode"},
      {{"dance"}, "dance"},
      {{"capacity", "--memory", "much"}, "terrace capacity: "},
      {{"plan", "--memory", "much"}, "terrace capacity: "},
      {{"replay", "--speed"}, "terrace replay: "},
      {{"encode", "--format", "fp8", "a.npy", "b.npy"}, "flashmla_v4"},
      {{"decode", "--format", "bf16", "--page", "3", "a.npy", "b.npy"}, "power of two"},
  };
  for (const auto& [arguments, message] : cases) {
    const CommandOutcome outcome = RunTerrace(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_THAT(outcome.err, HasSubstr("--help"));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_THAT(outcome.out, IsEmpty());
  }
}

TEST(ProgramTest, ACommandThatFailsExitsWith1) {
  const CommandOutcome outcome =
      RunTerrace({"encode", "--format", "bf16", "/nowhere/a.npy", "b.npy"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("terrace encode: cannot open /nowhere/a.npy"));
}

}  // namespace
}  // namespace terrace::testing
