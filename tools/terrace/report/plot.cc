#include "tools/terrace/report/plot.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "src/base/text_table.h"
#include "terrace/units.h"

namespace terrace::tools {
namespace {

using internal::WithCommas;

constexpr int kWidth = 1100;  // pixels
constexpr int kHeader = 70;   // above the panels
constexpr int kPanelHeight = 190;
constexpr int kFooter = 60;                // below them, for the axis
constexpr int kMostMarks = 5;              // of a panel's axis, above 0
constexpr double kShortestMinutes = 1e-6;  // gnuplot warns of an axis without length
constexpr const char* kColors[] = {"#1f6f8b", "#d1603d", "#5b8c3a", "#7a5195",
                                   "#b58900", "#2a9d8f", "#8d5524", "#555555"};

std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}}), "'");
}

// Runs gnuplot on `script`, without a shell.
absl::Status RunGnuplot(const std::string& script) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), &std::fclose);
  if (file == nullptr || std::fputs(script.c_str(), file.get()) < 0 ||
      std::fflush(file.get()) != 0 || std::fseek(file.get(), 0, SEEK_SET) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot write a temporary file for gnuplot: ", std::strerror(errno)));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fileno(file.get()), STDIN_FILENO);
  char name[] = "gnuplot";
  char* const arguments[] = {name, nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, name, &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "cannot start gnuplot: ", std::strerror(error), "; install gnuplot or leave out --plot"));
  }
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      "gnuplot failed; can the file be written, and is gnuplot 5 or newer?");
}

double Percent(int64_t blocks, int64_t of) {
  return of > 0 ? 100.0 * static_cast<double>(blocks) / static_cast<double>(of) : 0;
}

// Where an axis from 0 ends, and the step of its marks: round numbers, never above 100 %.
struct Axis {
  double end;
  double step;
};
Axis AxisFor(double percent) {
  constexpr double kSteps[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 25};
  for (const double step : kSteps) {
    if (step * kMostMarks >= percent) {
      return {std::min(100.0, step * std::max(1.0, std::ceil(percent / step))), step};
    }
  }
  return {100, 25};
}

// Columns of pool `p` in the data: live, then live and cached together.
size_t LiveColumn(size_t p) { return 2 * p + 2; }

std::string Panel(const ReplayResult& result, size_t p, double bottom, double top) {
  const PoolBudget& pool = result.capacity.pools[p];
  const int32_t live = result.occupancy.peak()[p];
  const int32_t held = result.occupancy.peak_held()[p];
  const bool last = p + 1 == result.capacity.pools.size();
  const char* color = kColors[p % std::size(kColors)];
  const Axis axis = AxisFor(Percent(held, pool.blocks));
  std::string script = absl::StrFormat(
      "set tmargin at screen %.4f\nset bmargin at screen %.4f\n"
      "set label 1 %s at graph 0.0,1.09 left textcolor rgb '%s' font ',13'\n"
      "set label 2 %s at graph 1.0,1.09 right textcolor rgb '#666666' font ',11'\n",
      top, bottom, Quoted(pool.name), color,
      Quoted(absl::StrFormat("peak live %s (%.1f %%), with cached %s (%.1f %%) of %s blocks of %s",
                             WithCommas(live), Percent(live, pool.blocks), WithCommas(held),
                             Percent(held, pool.blocks), WithCommas(pool.blocks),
                             FormatBytes(pool.place.reserved_bytes_per_block()))));
  // A little room above, so that a line at the end of the axis is whole.
  absl::StrAppend(&script, "set yrange [0:", axis.end * 1.03, "]\nset ytics 0,", axis.step, ",",
                  axis.end, "\n",
                  last ? "set format x '%g'\nset xlabel 'simulated minutes' offset 0,0.3\n"
                       : "set format x ''\nunset xlabel\n");
  absl::StrAppend(
      &script,
      absl::StrFormat("plot $pools using 1:%d with filledcurves y1=0 fillcolor rgb '%s' "
                      "fillstyle solid 0.18 noborder, "
                      "'' using 1:%d with filledcurves y1=0 fillcolor rgb '%s' "
                      "fillstyle solid 0.55 noborder, "
                      "'' using 1:%d with lines linecolor rgb '%s' linewidth 1.2\n",
                      LiveColumn(p) + 1, color, LiveColumn(p), color, LiveColumn(p) + 1, color));
  return script;
}

}  // namespace

absl::Status CheckPlot(const std::string& file) {
  if (!absl::EndsWithIgnoreCase(file, ".svg") && !absl::EndsWithIgnoreCase(file, ".png")) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", file, "\" ends neither in .svg nor in .png"));
  }
  return RunGnuplot("exit\n");
}

std::string PlotScript(const ReplayResult& result, const std::string& file) {
  const size_t panels = result.capacity.pools.size();
  const int height = kHeader + kFooter + static_cast<int>(panels) * kPanelHeight;
  const bool svg = absl::EndsWithIgnoreCase(file, ".svg");
  std::string script = absl::StrFormat(
      "set terminal %s noenhanced size %d,%d font 'Helvetica,11' background rgb 'white'\nset "
      "output %s\n",
      svg ? "svg" : "pngcairo", kWidth, height, Quoted(file));

  absl::StrAppend(&script, "$pools << end\n");
  for (const OccupancySeries::Point& point : result.occupancy.points()) {
    absl::StrAppend(&script, point.seconds / 60);
    for (size_t p = 0; p < panels; ++p) {
      const int32_t blocks = result.capacity.pools[p].blocks;
      absl::StrAppend(&script, " ", Percent(point.live[p], blocks), " ",
                      Percent(point.held[p], blocks));
    }
    absl::StrAppend(&script, "\n");
  }
  absl::StrAppend(
      &script, "end\nset multiplot\n",
      absl::StrFormat("set label 3 %s at screen 0.075,%.4f left font ',15'\n",
                      Quoted(absl::StrFormat(
                          "Live (dark) and cached (light) blocks: %s in %s, %s requests",
                          result.capacity.model.name, FormatBytes(result.capacity.memory_bytes),
                          WithCommas(result.scheduler.requests))),
                      1 - 24.0 / height),
      "unset key\nset border 3 linecolor rgb '#999999'\nset tics nomirror out scale 0.5\n"
      "set xtics textcolor rgb '#444444'\nset ytics textcolor rgb '#444444'\n"
      "set grid ytics linecolor rgb '#e6e6e6' linetype 1\nset format y '%g %%'\n"
      "set lmargin at screen 0.075\nset rmargin at screen 0.975\n"
      "set xrange [0:",
      std::max(result.scheduler.simulated_seconds / 60, kShortestMinutes), "]\n");
  for (size_t p = 0; p < panels; ++p) {
    const double top = 1 - (kHeader + 24.0 + p * kPanelHeight) / height;
    const double bottom = 1 - (kHeader + (p + 1.0) * kPanelHeight - 14) / height;
    absl::StrAppend(&script, Panel(result, p, bottom, top), "unset label 3\n");
  }
  absl::StrAppend(&script, "unset multiplot\n");
  return script;
}

absl::Status PlotOccupancy(const ReplayResult& result, const std::string& file) {
  return RunGnuplot(PlotScript(result, file));
}

}  // namespace terrace::tools
