// A figure of how full every pool was over simulated time, drawn by gnuplot.

#ifndef TERRACE_TOOLS_TERRACE_REPORT_PLOT_H_
#define TERRACE_TOOLS_TERRACE_REPORT_PLOT_H_

#include <string>

#include "absl/status/status.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::tools {

// Whether PlotOccupancy can write `file`: to be asked before a long run.
// Errors: InvalidArgument for a name that ends neither in .svg nor in .png; FailedPrecondition
// where gnuplot cannot be started.
absl::Status CheckPlot(const std::string& file);

// Writes `file`: a panel a pool, percent of its blocks over minutes, live ones with cached ones on
// top of them.
// Errors: as CheckPlot; Unavailable where gnuplot fails, whose own words are on standard error.
absl::Status PlotOccupancy(const ReplayResult& result, const std::string& file);

// The gnuplot program that PlotOccupancy runs.
std::string PlotScript(const ReplayResult& result, const std::string& file);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_REPORT_PLOT_H_
