#include "tools/terrace/report/progress.h"

#include <unistd.h>

#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/terrace/engine/scheduler_stats.h"

namespace terrace::testing {
namespace {

using tools::Progress;
using tools::SchedulerStats;

using ::testing::HasSubstr;

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
