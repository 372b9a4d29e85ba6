// Every option of every command, given what no option takes.

#include <algorithm>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/run_command.h"
#include "tools/terrace/commands/capacity_command.h"
#include "tools/terrace/commands/encode_command.h"
#include "tools/terrace/commands/replay_command.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

void AddAll(CLI::App& app, int* exit_code) {
  tools::AddCapacityCommand(app, exit_code);
  tools::AddReplayCommand(app, exit_code);
  tools::AddEncodeCommand(app, exit_code);
  tools::AddDecodeCommand(app, exit_code);
}

struct Option {
  std::string command;
  std::string name;
  std::string type;  // as --help shows it
};

// All options with a value.
std::vector<Option> AllOptions() {
  CLI::App app;
  int exit_code = 0;
  AddAll(app, &exit_code);
  std::vector<Option> options;
  for (const char* command : {"capacity", "replay", "encode", "decode"}) {
    for (const CLI::Option* option : app.get_subcommand(command)->get_options()) {
      const std::string name = option->get_name();
      if (name.rfind("--", 0) != 0 || option->get_items_expected_max() == 0) continue;
      options.push_back({command, name, option->get_type_name()});
    }
  }
  return options;
}

bool IsText(const Option& option) {
  return option.type == "FILE" || option.type == "NAME|FILE" || option.type == "T.npy" ||
         option.type == "L" || option.type == "L,L";
}

// One line that begins with the option's name, exit code 2, and nothing done.
void ExpectRefused(const Option& option, const std::vector<std::string>& values) {
  std::vector<std::string> arguments = {option.command};
  for (const std::string& value : values) {
    arguments.push_back(option.name + "=" + value);
  }
  SCOPED_TRACE(::testing::PrintToString(arguments));
  const CommandOutcome outcome = RunCommand(&AddAll, arguments);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr(option.name));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 0) << outcome.err;
  EXPECT_LT(outcome.err.size(), 250u) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(OptionsTest, EveryOptionRefusesWhatIsNoValueAndNamesItself) {
  const std::vector<Option> options = AllOptions();
  EXPECT_GT(options.size(), 40u);
  for (const Option& option : options) {
    if (IsText(option)) continue;
    for (const char* value :
         {"nan", "-nan", "inf", "-inf", "1e300", "-1e300", "1e999", "x", "1x", "-2",
          "999999999999999999999999999999999999999999999", "0x", "1,5", "--"}) {
      ExpectRefused(option, {value});
    }
  }
}

TEST(OptionsTest, NumbersRefuseWhatIsTooSmallToMean) {
  for (const Option& option : AllOptions()) {
    if (option.name == "--rate" || option.name == "--tokens-per-second" ||
        option.name == "--global-scale") {
      for (const char* value : {"0", "-0", "1e-300", "5e-324"}) ExpectRefused(option, {value});
    }
  }
}

TEST(OptionsTest, NoOptionIsTakenTwice) {
  for (const Option& option : AllOptions()) ExpectRefused(option, {"1", "1"});
}

TEST(OptionsTest, NoOptionIsEmpty) {
  for (const Option& option : AllOptions()) {
    SCOPED_TRACE(option.command + " " + option.name);
    const CommandOutcome outcome = RunCommand(&AddAll, {option.command, option.name, ""});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(option.name));
  }
}

TEST(OptionsTest, SeedsAreWholeNumbersOf64BitsInAnyBase) {
  const auto run = [](const std::string& seed) {
    return RunCommand(&AddAll,
                      {"replay", "--memory=2GiB", "--requests=2", "--data=none", "--seed=" + seed});
  };
  EXPECT_EQ(run("0xffffffffffffffff").exit_code, 0);
  EXPECT_EQ(run("18446744073709551615").exit_code, 0);
  EXPECT_THAT(run("-1").err, HasSubstr("--seed: \"-1\" is not a whole number from 0 to 1844"));
  EXPECT_EQ(run("18446744073709551616").exit_code, 2);
}

}  // namespace
}  // namespace terrace::testing
