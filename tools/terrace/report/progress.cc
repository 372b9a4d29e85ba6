#include "tools/terrace/report/progress.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/base/text_table.h"

namespace terrace::tools {
namespace {

using internal::WithCommas;

constexpr std::chrono::milliseconds kRedraw(100);
constexpr std::chrono::milliseconds kPlainLine(5000);
constexpr int kBarCells = 30;

std::string MinutesSeconds(double seconds) {
  const int64_t whole = std::llround(seconds);
  return absl::StrFormat("%d:%02d", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(std::FILE* out, bool is_terminal, int64_t requests, int64_t tokens)
    : out_(out),
      is_terminal_(is_terminal),
      requests_(requests),
      tokens_(std::max<int64_t>(tokens, 1)),
      start_(Clock::now()),
      next_(start_ + (is_terminal ? kRedraw : kPlainLine)) {}

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
  const std::string figures =
      absl::StrFormat("%s/%s requests  %.3g M tokens/s  %s", WithCommas(done),
                      WithCommas(requests_), tokens / seconds / 1e6, left);
  if (!is_terminal_) return absl::StrFormat("replay: %3.0f %%  %s", 100 * share, figures);
  const int full = static_cast<int>(share * kBarCells);
  return absl::StrCat("[", std::string(full, '='), std::string(kBarCells - full, ' '), "] ",
                      figures);
}

}  // namespace terrace::tools
