// Progress shows how far a replay is: a bar that redraws itself on a terminal, and elsewhere a
// plain line every few seconds. The bar is never wider than the terminal, which would wrap it.

#ifndef TERRACE_TOOLS_TERRACE_REPORT_PROGRESS_H_
#define TERRACE_TOOLS_TERRACE_REPORT_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "tools/terrace/engine/scheduler.h"

namespace terrace::tools {

class Progress {
 public:
  // Columns of the terminal that is written to, asked before each drawing; 0 = no terminal.
  using Columns = std::function<int()>;

  // `out` is borrowed. The whole work is `requests` requests with `tokens` tokens of prompts and
  // outputs.
  Progress(std::FILE* out, Columns columns, int64_t requests, int64_t tokens);

  // Shows `stats` if the last showing is long enough ago.   Cost: a clock reading.
  void Update(const SchedulerStats& stats);

  // Ends the bar, so that the next line is clean.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string Line(const SchedulerStats& stats, double seconds) const;
  std::string Bar(double share, const std::vector<std::string>& figures) const;

  std::FILE* const out_;
  const Columns columns_;
  const bool is_terminal_;
  const int64_t requests_;
  const int64_t tokens_;
  const Clock::time_point start_;
  Clock::time_point next_;
  bool drawn_ = false;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_REPORT_PROGRESS_H_
