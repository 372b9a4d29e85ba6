#include "tools/terrace/commands/program.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using tools::RunProgram;

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Outcome {
  int exit_code;
  std::string output;
  std::string error;
};

Outcome RunTerrace(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "terrace");
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int exit_code = RunProgram(static_cast<int>(arguments.size()), arguments.data(), "1.2.3");
  const std::string output = ::testing::internal::GetCapturedStdout();
  return {exit_code, output, ::testing::internal::GetCapturedStderr()};
}

TEST(CliProgramTest, HelpAndVersionExitWith0) {
  const Outcome help = RunTerrace({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  for (const char* command : {"plan", "replay", "encode", "decode"}) {
    EXPECT_THAT(help.output, HasSubstr(std::string("terrace ") + command));
    const Outcome of_command = RunTerrace({command, "--help"});
    EXPECT_EQ(of_command.exit_code, 0);
    EXPECT_THAT(of_command.output, HasSubstr("Examples:"));
    EXPECT_THAT(of_command.error, IsEmpty());
  }
  const Outcome version = RunTerrace({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.output, "terrace 1.2.3\n");
}

TEST(CliProgramTest, BadUsageExitsWith2AndOneLine) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{}, "plan, replay, encode or decode"},
      {{"dance"}, "dance"},
      {{"plan", "--memory", "much"}, "terrace plan: "},
      {{"replay", "--speed"}, "terrace replay: "},
      {{"encode", "--format", "fp8", "a.npy", "b.npy"}, "flashmla_v4"},
      {{"decode", "--format", "bf16", "--page", "3", "a.npy", "b.npy"}, "power of two"},
  };
  for (const auto& [arguments, message] : cases) {
    const Outcome outcome = RunTerrace(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.error;
    EXPECT_THAT(outcome.error, HasSubstr(message));
    EXPECT_THAT(outcome.error, HasSubstr("--help"));
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    EXPECT_THAT(outcome.output, IsEmpty());
  }
}

TEST(CliProgramTest, ACommandThatFailsExitsWith1) {
  const Outcome outcome = RunTerrace({"encode", "--format", "bf16", "/nowhere/a.npy", "b.npy"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.error, HasSubstr("terrace encode: cannot open /nowhere/a.npy"));
}

}  // namespace
}  // namespace terrace::testing
