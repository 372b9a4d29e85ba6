// What `terrace replay --plot` draws.

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/run_replay.h"
#include "tests/tools/temp_file.h"
#include "tools/terrace/report/plot.h"

namespace terrace::testing {
namespace {

using tools::CheckPlot;

using ::testing::HasSubstr;

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
