// What `terrace replay --plot` draws.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/capacity.h"
#include "terrace/model.h"
#include "terrace/units.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/run_replay.h"
#include "tests/tools/temp_file.h"
#include "tools/terrace/report/plot.h"

namespace terrace::testing {
namespace {

using tools::CheckPlot;
using tools::PlotScript;
using tools::PoolCounts;
using tools::ReplayResult;

using ::testing::HasSubstr;
using ::testing::Not;

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

TEST_F(ReplayPlotTest, NamesAreAsTheyAreAndGnuplotHasNothingToSay) {
  const TempFile svg(".svg");
  // Without reuse the overlap pool has no blocks, and one request takes next to no time.
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{}, {"--no-reuse"}, {"--data", "none", "--in-flight", "2"}}) {
    std::vector<std::string> arguments = more;
    arguments.insert(arguments.end(), {"--plot", svg.path()});
    const CommandOutcome outcome = SmallReplay(arguments);
    EXPECT_EQ(outcome.err, "");  // gnuplot's words too
    const std::string figure = svg.Read();
    for (const char* text : {">csa_state<", ">hca_state<", "with cached", ">100 %<"}) {
      EXPECT_THAT(figure, HasSubstr(text));
    }
    EXPECT_THAT(figure, Not(HasSubstr("120 %")));
    EXPECT_THAT(figure, Not(HasSubstr("nan")));
  }
}

TEST_F(ReplayPlotTest, CachedBlocksAreDrawnToo) {
  ReplayResult result;
  result.capacity = PlanCapacity({.model = DeepSeekV4Flash(), .memory_bytes = 4 * kGiB}).value();
  const size_t overlap = 3;
  ASSERT_EQ(result.capacity.pools[overlap].kind, PoolKind::kOverlap);
  const int32_t blocks = result.capacity.pools[overlap].blocks;
  PoolCounts live = {};
  PoolCounts held = {};
  live[0] = 9;
  held[0] = 9;
  held[overlap] = blocks / 2;
  result.occupancy.Add(0, live, held);
  const std::string script = PlotScript(result, "figure.svg");
  EXPECT_THAT(script, HasSubstr(absl::StrCat("peak live 0 (0.0 %), with cached ", blocks / 2)));
  const double percent = 100.0 * (blocks / 2) / blocks;
  // Minutes, then live and live with cached of every pool.
  EXPECT_THAT(script, HasSubstr(absl::StrCat(" 0 0 0 0 0 ", percent, " 0 0 0 0\nend")));
  EXPECT_THAT(script, HasSubstr("using 1:9 "));
}

TEST_F(ReplayPlotTest, AFileThatCannotBeWrittenExitsWithOne) {
  const CommandOutcome outcome = SmallReplay({"--plot", "/no/such/folder/figure.svg"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("--plot: cannot write /no/such/folder/figure.svg"));
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

}  // namespace
}  // namespace terrace::testing
