#include "tools/terrace/report/progress.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/pseudo_terminal.h"
#include "tools/terrace/engine/scheduler_stats.h"
#include "tools/terrace/report/terminal.h"

namespace terrace::testing {
namespace {

using tools::Progress;
using tools::SchedulerStats;
using tools::TerminalColumns;

using ::testing::HasSubstr;
using ::testing::Not;

// What is written when half of the work is done, on a terminal of so many columns.
std::string Drawn(int columns, int64_t requests) {
  std::FILE* out = std::tmpfile();
  Progress progress(
      out, [columns] { return columns; }, requests, 1000);
  SchedulerStats stats;
  stats.completed = requests / 2;
  stats.prompt_tokens = 500;
  usleep(120'000);  // the bar is drawn ten times a second
  progress.Update(stats);
  progress.Finish();
  std::string text(static_cast<size_t>(std::ftell(out)), ' ');
  std::rewind(out);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), out), text.size());
  std::fclose(out);
  return text;
}

TEST(ProgressTest, ATerminalGetsABarThatIsErasedAtTheEnd) {
  const std::string text = Drawn(100, 10);
  EXPECT_THAT(text, HasSubstr("[===============               ] 5/10 requests"));
  EXPECT_THAT(text, HasSubstr("ETA 0:00"));
  EXPECT_THAT(text, ::testing::EndsWith("\r\x1b[K"));
}

TEST(ProgressTest, NoWidthIsTooSmall) {
  for (int columns = 1; columns <= 120; ++columns) {
    const std::string text = columns % 7 == 0 || columns < 4 ? Drawn(columns, 12031) : "";
    EXPECT_LT(WidestColumn(text), columns);
  }
}

TEST(ProgressTest, TheBarShrinksFirstThenFiguresGo) {
  EXPECT_THAT(Drawn(80, 12031), HasSubstr("=   "));
  EXPECT_THAT(Drawn(80, 12031), HasSubstr("] 6,015/12,031 requests  "));
  EXPECT_THAT(Drawn(60, 12031), HasSubstr("M tokens/s  ETA 0:00"));
  const std::string narrow = Drawn(36, 12031);
  EXPECT_THAT(narrow, HasSubstr("6,015/12,031 requests  ETA 0:00"));
  EXPECT_THAT(narrow, Not(HasSubstr("tokens")));
  EXPECT_THAT(Drawn(11, 12031), HasSubstr("6,015/12,0\x1b"));
}

TEST(TerminalTest, TheWidthIsAskedAnewAndFallsBackToColumns) {
  const PseudoTerminal terminal(80);
  const int fd = open(terminal.path().c_str(), O_RDWR | O_NOCTTY);
  EXPECT_EQ(TerminalColumns(fd), 80);
  terminal.Resize(60);
  EXPECT_EQ(TerminalColumns(fd), 60);
  terminal.Resize(0);  // a terminal that does not know
  const char* const before = std::getenv("COLUMNS");
  const std::string kept = before == nullptr ? "" : before;
  setenv("COLUMNS", "72", 1);
  EXPECT_EQ(TerminalColumns(fd), 72);
  for (const char* bad : {"", "-3", "wide", "0"}) {
    setenv("COLUMNS", bad, 1);
    EXPECT_EQ(TerminalColumns(fd), 80) << bad;
  }
  before == nullptr ? unsetenv("COLUMNS") : setenv("COLUMNS", kept.c_str(), 1);
  close(fd);
  const int file = open("/dev/null", O_RDWR);
  EXPECT_EQ(TerminalColumns(file), 0);
  close(file);
}

}  // namespace
}  // namespace terrace::testing
