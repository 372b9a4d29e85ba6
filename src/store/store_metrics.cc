// What a monitor is told of a store.

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/base/metric_list.h"
#include "src/store/store_impl.h"
#include "terrace/store.h"

namespace terrace {
namespace {

using internal::Metric;

template <uint64_t Counters::*kMember>
int64_t Count(const StoreMetrics& metrics) {
  return static_cast<int64_t>(metrics.counters.*kMember);
}

using C = Counters;
constexpr Metric<StoreMetrics> kOfStores[] = {
    {"memory_bytes", "terrace_store_memory_bytes", "", "bytes of pools and tables",
     [](const StoreMetrics& metrics) { return metrics.memory_bytes; }},
    {"nonfinite_values", "terrace_store_nonfinite_values_total", "",
     "NaN or infinity in a row that was written", Count<&C::nonfinite_values>},
    {"skipped_slots", "terrace_store_skipped_slots_total", "", "raw slots outside the pool",
     Count<&C::skipped_slots>},
    {"skipped_entries", "terrace_store_skipped_entries_total", "",
     "chosen entries that the query does not see", Count<&C::skipped_entries>},
    {"skipped_positions", "terrace_store_skipped_positions_total", "",
     "rows whose position lies beyond the RoPE table", Count<&C::skipped_positions>},
    {"truncated_queries", "terrace_store_truncated_queries_total", "",
     "queries that see more entries than the output holds", Count<&C::truncated_queries>},
    {"stale_states", "terrace_store_stale_states_total", "",
     "state pages that were not where the step begins, by sequence and layer",
     Count<&C::stale_states>},
};

}  // namespace

StoreMetrics Store::metrics() const {
  return {.memory_bytes = memory_bytes(), .counters = ReadCounters()};
}

std::string ToJson(const StoreMetrics& metrics) {
  std::string first = "null";
  if (const std::optional<StaleState> stale = FirstStaleState(metrics.counters)) {
    first = absl::StrFormat(R"({"plan": %d, "layer": %d, "sequence_index": %d, "fed_again": %s})",
                            stale->plan, stale->layer, stale->sequence_index,
                            stale->fed_again ? "true" : "false");
  }
  return absl::StrCat("{", internal::JsonMembers<StoreMetrics>(kOfStores, metrics),
                      ", \"first_stale_state\": ", first, "}");
}

std::string ToPrometheus(const StoreMetrics& metrics) {
  std::string text;
  internal::AppendPrometheus<StoreMetrics>(kOfStores, absl::MakeConstSpan(&metrics, 1), "", &text);
  return text;
}

}  // namespace terrace
