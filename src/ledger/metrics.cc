#include "terrace/metrics.h"

#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/base/metric_list.h"

namespace terrace {
namespace {

using internal::AppendFamily;
using internal::AppendPrometheus;
using internal::AppendSample;
using internal::JsonMembers;
using internal::Metric;

template <int32_t PoolUse::*kMember>
int64_t Use(const PoolMetrics& pool) {
  return pool.use.*kMember;
}
template <int64_t LedgerMetrics::*kMember>
int64_t Of(const LedgerMetrics& metrics) {
  return metrics.*kMember;
}

constexpr Metric<PoolMetrics> kOfPools[] = {
    {"capacity", "terrace_pool_capacity_blocks", "", "blocks of the pool", Use<&PoolUse::capacity>},
    {"free", "terrace_pool_blocks", R"(state="free")", "blocks of the pool, by state",
     Use<&PoolUse::free>},
    {"live", "terrace_pool_blocks", R"(state="live")", "", Use<&PoolUse::live>},
    {"cached", "terrace_pool_blocks", R"(state="cached")", "", Use<&PoolUse::cached>},
    {"draining", "terrace_pool_blocks", R"(state="draining")", "", Use<&PoolUse::draining>},
    {"evictable_now", "terrace_pool_evictable_blocks", R"(when="now")",
     "cached blocks that are evicted where they are needed: now, or when plans are retired",
     Use<&PoolUse::evictable_now>},
    {"evictable_later", "terrace_pool_evictable_blocks", R"(when="later")", "",
     Use<&PoolUse::evictable_later>},
    {"reserved", "terrace_pool_reserved_blocks", "", "blocks set aside for sequences",
     Use<&PoolUse::reserved>},
    {"shortages", "terrace_pool_shortages_total", "",
     "calls that failed because the pool was short of blocks",
     [](const PoolMetrics& pool) { return pool.shortages; }},
};

using M = LedgerMetrics;
constexpr Metric<LedgerMetrics> kOfLedgers[] = {
    {"max_sequences", "terrace_max_sequences", "", "sequence indices", Of<&M::max_sequences>},
    {"sequences", "terrace_sequences", "", "sequences that are allocated", Of<&M::sequences>},
    {"allocated_sequences", "terrace_allocated_sequences_total", "", "sequences allocated",
     Of<&M::allocated_sequences>},
    {"refused_sequences", "terrace_refused_sequences_total", "",
     "sequences refused because all indices were taken", Of<&M::refused_sequences>},
    {"finished_sequences", "terrace_freed_sequences_total", R"(reason="finished")",
     "sequences freed, by the reason that the caller gave", Of<&M::finished_sequences>},
    {"preempted_sequences", "terrace_freed_sequences_total", R"(reason="preempted")", "",
     Of<&M::preempted_sequences>},
    {"cancelled_sequences", "terrace_freed_sequences_total", R"(reason="cancelled")", "",
     Of<&M::cancelled_sequences>},
    {"plans", "terrace_plans_total", "", "plans made", Of<&M::plans>},
    {"plans_in_flight", "terrace_plans_in_flight", "", "plans made and not retired",
     Of<&M::plans_in_flight>},
    {"lost_plans", "terrace_lost_plans_total", "", "plans named by Abandon", Of<&M::lost_plans>},
    {"abandons", "terrace_abandons_total", "", "calls of Abandon", Of<&M::abandons>},
    {"distrusts", "terrace_distrusts_total", "", "calls of Distrust", Of<&M::distrusts>},
    {"restarted_sequences", "terrace_restarted_sequences_total", "",
     "sequences sent back by Abandon or Distrust", Of<&M::restarted_sequences>},
    {"events", "terrace_events_total", "", "events recorded, those dropped among them",
     Of<&M::events>},
    {"waiting_events", "terrace_waiting_events", "", "events that nobody took yet",
     Of<&M::waiting_events>},
    {"dropped_events", "terrace_dropped_events_total", "", "events dropped because too many waited",
     Of<&M::dropped_events>},
};

const char* KindOf(PoolKind kind) {
  switch (kind) {
    case PoolKind::kWindow:
      return "window";
    case PoolKind::kFull:
      return "full";
    case PoolKind::kOverlap:
      return "overlap";
    case PoolKind::kState:
      return "state";
  }
  return "unknown";
}

}  // namespace

std::string ToJson(const LedgerMetrics& metrics) {
  std::vector<std::string> pools;
  for (const PoolMetrics& pool : metrics.pools) {
    pools.push_back(absl::StrCat("{\"kind\": \"", KindOf(pool.kind), "\", \"ratio\": ", pool.ratio,
                                 ", ", JsonMembers<PoolMetrics>(kOfPools, pool), "}"));
  }
  return absl::StrCat("{\"pools\": [", absl::StrJoin(pools, ", "), "], ",
                      JsonMembers<LedgerMetrics>(kOfLedgers, metrics),
                      ", \"prefix\": ", ToJson(metrics.prefix), "}");
}

std::string ToPrometheus(const LedgerMetrics& metrics) {
  std::string text;
  AppendFamily("terrace_pool_info", "kind and tokens an entry of the pool", &text);
  for (size_t i = 0; i < metrics.pools.size(); ++i) {
    AppendSample("terrace_pool_info",
                 {absl::StrCat("pool=\"", i, "\""),
                  absl::StrCat("kind=\"", KindOf(metrics.pools[i].kind), "\""),
                  absl::StrCat("ratio=\"", metrics.pools[i].ratio, "\"")},
                 1, &text);
  }
  AppendPrometheus<PoolMetrics>(kOfPools, metrics.pools, "pool", &text);
  AppendPrometheus<LedgerMetrics>(kOfLedgers, absl::MakeConstSpan(&metrics, 1), "", &text);
  return text + ToPrometheus(metrics.prefix);
}

}  // namespace terrace
