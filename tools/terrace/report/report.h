// What a replay found, as a table for people and as JSON for programs. docs/replay.md lists the
// keys.

#ifndef TERRACE_TOOLS_TERRACE_REPORT_REPORT_H_
#define TERRACE_TOOLS_TERRACE_REPORT_REPORT_H_

#include <nlohmann/json.hpp>
#include <string>

#include "tools/terrace/engine/replay.h"

namespace terrace::tools {

// No line is wider than `columns` where words allow it; 0 = any width.
std::string ReplayTable(const ReplayResult& result, int columns = 0);
nlohmann::ordered_json ReplayJson(const ReplayResult& result);

// Time inside ledger calls; 0 where there was no such step.
double LedgerDecodeNsPerSequenceStep(const SchedulerStats& stats);
double LedgerPrefillNsPerToken(const SchedulerStats& stats);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_REPORT_REPORT_H_
