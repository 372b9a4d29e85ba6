#include "src/ledger/ledger_counts.h"

#include <algorithm>
#include <optional>

#include "src/ledger/ledger_impl.h"
#include "terrace/metrics.h"

namespace terrace {
namespace internal {

void LedgerCounts::CountAllocation(const absl::Status& status) {
  if (status.ok()) {
    ++allocated;
  } else if (ShortageOf(status).has_value()) {
    CountShortage(status);
  } else {
    refused += absl::IsResourceExhausted(status);
  }
}

void LedgerCounts::CountShortage(const absl::Status& status) {
  const std::optional<Shortage> shortage = ShortageOf(status);
  if (shortage.has_value()) ++shortages[shortage->pool.value()];
}

void LedgerCounts::CountAbandon(uint64_t first, uint64_t last) {
  ++abandons;
  for (; !lost_.empty() && lost_.back().second >= first; lost_.pop_back()) {
    lost_plans -= static_cast<int64_t>(lost_.back().second - lost_.back().first + 1);
    first = std::min(first, lost_.back().first);
  }
  lost_.emplace_back(first, last);
  lost_plans += static_cast<int64_t>(last - first + 1);
}

}  // namespace internal

LedgerMetrics Ledger::metrics() const {
  const internal::PoolSet& pools = impl_->pools;
  const internal::LedgerCounts& counts = impl_->counts;
  const internal::EventLog& events = impl_->prefixes.events();
  const auto freed = [&](FreeReason reason) { return counts.freed[static_cast<int>(reason)]; };
  LedgerMetrics metrics;
  for (int p = 0; p < pools.num_pools(); ++p) {
    metrics.pools.push_back({.kind = geometry().pools[p].kind,
                             .ratio = geometry().pools[p].ratio,
                             .use = *Use(PoolIndex(p)),
                             .shortages = counts.shortages[p]});
  }
  metrics.max_sequences = geometry().max_sequences;
  metrics.sequences = num_sequences();
  metrics.allocated_sequences = counts.allocated;
  metrics.refused_sequences = counts.refused;
  metrics.finished_sequences = freed(FreeReason::kFinished);
  metrics.preempted_sequences = freed(FreeReason::kPreempted);
  metrics.cancelled_sequences = freed(FreeReason::kCancelled);
  metrics.plans = static_cast<int64_t>(pools.last_plan());
  metrics.plans_in_flight = static_cast<int64_t>(pools.num_in_flight());
  metrics.lost_plans = counts.lost_plans;
  metrics.abandons = counts.abandons;
  metrics.distrusts = counts.distrusts;
  metrics.restarted_sequences = counts.restarted;
  metrics.events = static_cast<int64_t>(events.last());
  metrics.waiting_events = events.num_waiting();
  metrics.dropped_events = static_cast<int64_t>(events.dropped());
  metrics.prefix = prefix_figures();
  return metrics;
}

}  // namespace terrace
