#include "tools/terrace/commands/capacity_fits.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "src/base/status_macros.h"
#include "src/base/text_table.h"
#include "terrace/units.h"
#include "tools/terrace/commands/option_names.h"
#include "tools/terrace/engine/layer_range.h"

namespace terrace::tools {
namespace {

using internal::Align;
using internal::Cells;
using internal::WithCommas;
using internal::Wrap;

std::string ContextText(int64_t tokens) {
  if (tokens >= kMiB && tokens % kMiB == 0) return absl::StrCat(tokens / kMiB, "M");
  if (tokens >= kKiB && tokens % kKiB == 0) return absl::StrCat(tokens / kKiB, "K");
  return WithCommas(tokens);
}

// Sequences of `fit` with `setting`, or "-" where it takes the least already.
std::string ChoiceText(const ContextFit& fit, CapacitySetting setting) {
  for (const FitChoice& choice : fit.choices) {
    if (choice.setting == setting) return WithCommas(choice.sequences);
  }
  return "-";
}

}  // namespace

std::string SettingOption(CapacitySetting setting) {
  switch (setting) {
    case CapacitySetting::kMaxSequences:
      return "--sequences alone";
    case CapacitySetting::kPrefillSequences:
      return "--prefill-sequences 1";
    case CapacitySetting::kCheckpoints:
      return "--checkpoint-count 0";
    case CapacitySetting::kPrefixReuse:
      return "--no-reuse";
    case CapacitySetting::kInFlightPlans:
      return "--in-flight 0";
    case CapacitySetting::kMaxDrafts:
      return "--drafts 0";
    case CapacitySetting::kWholeChunk:
      return "no --whole-chunk";
    case CapacitySetting::kMaxContext:
      return "--context of its column";
    case CapacitySetting::kAll:
      return "all of these";
  }
  return "";
}

absl::StatusOr<std::vector<ContextFit>> FitContexts(const CapacityRequest& request) {
  std::set<int64_t> contexts(kQuotedContexts.begin(), kQuotedContexts.end());
  if (request.limits.max_context_tokens > 0) contexts.insert(request.limits.max_context_tokens);
  std::vector<ContextFit> fits;
  for (const int64_t context : contexts) {
    TERRACE_ASSIGN_OR_RETURN(ContextFit fit, FitContext(request, context));
    fits.push_back(std::move(fit));
  }
  return fits;
}

absl::StatusOr<std::vector<WorkerShare>> ShareLayers(const CapacityPlan& plan,
                                                     const std::string& text) {
  std::vector<WorkerShare> workers;
  for (const absl::string_view range : absl::StrSplit(text, ',')) {
    WorkerShare worker;
    TERRACE_ASSIGN_OR_RETURN(worker.layers, ParseLayers(std::string(range), plan.model));
    TERRACE_ASSIGN_OR_RETURN(worker.bytes, WorkerBytes(plan, worker.layers));
    workers.push_back(worker);
  }
  return workers;
}

std::string FitTable(const std::vector<ContextFit>& fits, int columns) {
  std::vector<Cells> rows = {{"context", "sequences", "held back by", "most"}};
  for (const ContextFit& fit : fits) {
    rows.push_back({ContextText(fit.context_tokens), WithCommas(fit.sequences),
                    WithOptionNames(std::string(FitBoundName(fit.bound))),
                    ChoiceText(fit, CapacitySetting::kAll)});
  }
  return Align(rows, 1, columns);
}

std::string ChoiceTable(const std::vector<ContextFit>& fits, int columns) {
  std::vector<Cells> rows = {{"most sequences, by"}};
  for (const ContextFit& fit : fits) rows[0].push_back(ContextText(fit.context_tokens));
  for (int i = 0; i <= static_cast<int>(CapacitySetting::kAll); ++i) {
    const auto setting = static_cast<CapacitySetting>(i);
    Cells cells = {SettingOption(setting)};
    bool any = false;
    for (const ContextFit& fit : fits) {
      cells.push_back(ChoiceText(fit, setting));
      any = any || cells.back() != "-";
    }
    if (any) rows.push_back(cells);
  }
  return absl::StrCat(
      Align(rows, 1, columns),
      Wrap("A number is the --sequences to ask for, with its line's option.", columns, 0), "\n");
}

std::string WorkerTable(const CapacityPlan& plan, const std::vector<WorkerShare>& workers,
                        int columns) {
  std::vector<Cells> rows = {{"worker of layers", "bytes", "", "share"}};
  for (const WorkerShare& worker : workers) {
    rows.push_back(
        {absl::StrCat(worker.layers.first, "-", worker.layers.first + worker.layers.count - 1),
         WithCommas(worker.bytes), FormatBytes(worker.bytes),
         absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(worker.bytes) /
                                        static_cast<double>(plan.memory_bytes))});
  }
  return Align(rows, 1, columns);
}

}  // namespace terrace::tools
