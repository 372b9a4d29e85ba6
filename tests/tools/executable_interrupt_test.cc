// Ctrl-C in the middle of a replay: a real signal to a real process.

#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/executable_fixture.h"
#include "tests/tools/pseudo_terminal.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

class ExecutableInterruptTest : public ExecutableFixture {
 protected:
  // Interrupts a long replay once its bar is there. What it wrote to its JSON file.
  nlohmann::json Interrupted(const std::vector<std::string>& more) {
    const std::string json = folder_ / "figures.json";
    std::vector<std::string> words = {program_, "replay", "--requests=200000", "--json=" + json};
    words.insert(words.end(), more.begin(), more.end());
    PseudoTerminal terminal(100);
    terminal.Start(words, {STDOUT_FILENO, STDERR_FILENO});
    terminal.ReadUntil(" requests ");
    terminal.Signal(SIGINT);
    EXPECT_EQ(terminal.Join(), 130);
    written_ = terminal.ReadUntil("");
    return nlohmann::json::parse(ReadFile(json));
  }
  void ExpectFiguresSoFar(const nlohmann::json& figures) const {
    EXPECT_EQ(figures["interrupted"], true);
    EXPECT_EQ(figures["requests"], 200000);
    EXPECT_LT(figures["completed"], 200000);
    EXPECT_GT(figures["steps"], 0);
    EXPECT_EQ(figures["corrupt_rows"], 0);
    EXPECT_EQ(figures["leaked_blocks"], 0);
    EXPECT_THAT(written_, HasSubstr("interrupted    the figures are those of the run so far"));
    EXPECT_THAT(written_, HasSubstr("leaked blocks  0"));
    EXPECT_THAT(written_, HasSubstr("terrace replay: interrupted after "));
  }

  std::string written_;
};

TEST_F(ExecutableInterruptTest, TheFiguresSoFarAreWritten) {
  ExpectFiguresSoFar(Interrupted({"--memory=1TiB", "--data=none"}));
}

TEST_F(ExecutableInterruptTest, PlansInFlightAndRowsAreEndedFirst) {
  const nlohmann::json figures =
      Interrupted({"--memory=4GiB", "--backend=host", "--in-flight=3", "--verify=1"});
  ExpectFiguresSoFar(figures);
  EXPECT_GT(figures["verified_rows"], 0);
}

}  // namespace
}  // namespace terrace::testing
