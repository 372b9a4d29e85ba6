#include "tools/terrace/report/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "src/base/text_table.h"

namespace terrace::tools {
namespace {

using internal::WithCommas;

constexpr std::chrono::milliseconds kRedraw(100);
constexpr std::chrono::milliseconds kPlainLine(5000);
constexpr int kBarCells = 30;
constexpr int kFewestBarCells = 5;

std::string MinutesSeconds(double seconds) {
  const int64_t whole = std::llround(seconds);
  return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(std::FILE* out, Columns columns, int64_t requests, int64_t tokens)
    : out_(out),
      columns_(std::move(columns)),
      is_terminal_(columns_() > 0),
      requests_(requests),
      tokens_(std::max<int64_t>(tokens, 1)),
      start_(Clock::now()),
      next_(start_ + (is_terminal_ ? kRedraw : kPlainLine)) {}

void Progress::Update(const SchedulerStats& stats) {
  const Clock::time_point now = Clock::now();
  if (now < next_) return;
  next_ = now + (is_terminal_ ? kRedraw : kPlainLine);
  const double seconds = std::chrono::duration<double>(now - start_).count();
  std::fputs(is_terminal_ ? "\r" : "", out_);
  std::fputs(Line(stats, seconds).c_str(), out_);
  std::fputs(is_terminal_ ? "\x1b[K" : "\n", out_);  // erase what a longer line left
  std::fflush(out_);
  drawn_ = true;
}

void Progress::Finish() {
  if (is_terminal_ && drawn_) std::fputs("\r\x1b[K", out_);
  std::fflush(out_);
}

std::string Progress::Line(const SchedulerStats& stats, double seconds) const {
  const int64_t done = stats.completed + stats.failed;
  const int64_t tokens = stats.prompt_tokens + stats.decode_tokens;
  // The work left is told by tokens. Those of requests that failed are never served.
  const double share = std::clamp(static_cast<double>(tokens) / tokens_, 0.0, 1.0);
  const std::string left =
      share > 0 ? absl::StrCat("ETA ", MinutesSeconds(seconds * (1 - share) / share)) : "ETA -";
  const std::vector<std::string> figures = {
      absl::StrCat(WithCommas(done), "/", WithCommas(requests_), " requests"),
      absl::StrFormat("%.3g M tokens/s", tokens / seconds / 1e6), left};
  if (is_terminal_) return Bar(share, figures);
  return absl::StrFormat("replay: %3.0f %%  %s", 100 * share, absl::StrJoin(figures, "  "));
}

std::string Progress::Bar(double share, const std::vector<std::string>& figures) const {
  // The last column stays free: some terminals wrap as soon as it is written.
  const int room = std::max(columns_() - 1, 0);
  const std::string text = absl::StrJoin(figures, "  ");
  const int cells = std::min(kBarCells, room - static_cast<int>(text.size()) - 3);
  if (cells >= kFewestBarCells) {
    const int full = static_cast<int>(share * cells);
    return absl::StrCat("[", std::string(full, '='), std::string(cells - full, ' '), "] ", text);
  }
  std::string line = figures.front().substr(0, room);
  for (size_t i = 1; i < figures.size(); ++i) {
    if (line.size() + 2 + figures[i].size() > static_cast<size_t>(room)) continue;
    absl::StrAppend(&line, "  ", figures[i]);
  }
  return line;
}

}  // namespace terrace::tools
