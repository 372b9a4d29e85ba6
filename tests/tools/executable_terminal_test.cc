// What the program writes on terminals of 80 and 60 columns.

#include <unistd.h>

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/executable_fixture.h"
#include "tests/tools/pseudo_terminal.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ExecutableTerminalTest : public ExecutableFixture,
                               public ::testing::WithParamInterface<int> {};

TEST_P(ExecutableTerminalTest, ABarOfManyRequestsNeverWraps) {
  PseudoTerminal terminal(GetParam());
  terminal.Start({program_, "replay", "--memory=10TiB", "--data=none", "--requests=20000"},
                 {STDERR_FILENO});
  EXPECT_EQ(terminal.Join(), 0);
  const std::string written = terminal.ReadUntil("");
  EXPECT_THAT(written, HasSubstr("/20,000 requests"));
  EXPECT_THAT(written, HasSubstr("ETA"));
  EXPECT_THAT(written, HasSubstr("\r["));
  EXPECT_THAT(written, Not(HasSubstr("\n")));
  EXPECT_LT(WidestColumn(written), GetParam());
}

TEST_P(ExecutableTerminalTest, TablesFit) {
  for (const char* command : {"capacity", "replay"}) {
    SCOPED_TRACE(command);
    PseudoTerminal terminal(GetParam());
    std::vector<std::string> words = {program_, command, "--memory=40GiB"};
    if (words[1] == "replay") words.insert(words.end(), {"--requests=40", "--data=none"});
    terminal.Start(words, {STDOUT_FILENO});
    EXPECT_EQ(terminal.Join(), 0);
    const std::string written = terminal.ReadUntil("");
    EXPECT_THAT(written, HasSubstr("csa_state"));
    EXPECT_LE(WidestColumn(written), GetParam()) << written;
  }
}

INSTANTIATE_TEST_SUITE_P(Columns, ExecutableTerminalTest, ::testing::Values(80, 60));

}  // namespace
}  // namespace terrace::testing
