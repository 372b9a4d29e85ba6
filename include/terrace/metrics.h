// What a monitor is told of a ledger: pools, sequences, plans, events, prefix reuse. Store and Cache
// have theirs in their own headers (StoreMetrics, CacheMetrics).

#ifndef TERRACE_METRICS_H_
#define TERRACE_METRICS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "terrace/ledger.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"

namespace terrace {

struct PoolMetrics {
  PoolKind kind = PoolKind::kWindow;
  int32_t ratio = 0;  // tokens an entry; 0 in an overlap pool
  PoolUse use = {};   // now
  // Calls that failed because it was short of blocks (ShortageOf), since the ledger was made.
  int64_t shortages = 0;
};

// Counts are sums since the ledger was made, unless they say "now".
struct LedgerMetrics {
  std::vector<PoolMetrics> pools;  // by PoolIndex

  int64_t max_sequences = 0;
  int64_t sequences = 0;  // now
  int64_t allocated_sequences = 0;
  int64_t refused_sequences = 0;  // because all sequence indices were taken
  // By what FreeSequence was told.
  int64_t finished_sequences = 0;
  int64_t preempted_sequences = 0;
  int64_t cancelled_sequences = 0;

  int64_t plans = 0;            // made
  int64_t plans_in_flight = 0;  // now: not retired; 0 where in_flight_plans is 0
  int64_t lost_plans = 0;       // named by Abandon, each plan once
  int64_t abandons = 0;
  int64_t distrusts = 0;
  int64_t restarted_sequences = 0;  // sent back by them

  int64_t events = 0;          // recorded, those dropped among them
  int64_t waiting_events = 0;  // now: not taken
  int64_t dropped_events = 0;  // beyond PrefixOptions::max_events

  PrefixFigures prefix = {};
};

// One JSON object, under the names above: `pools` a list of objects, `prefix` as ToJson(prefix).
std::string ToJson(const LedgerMetrics& metrics);

// Prometheus' text format, version 0.0.4. Names begin with terrace_; counters end in _total. Figures
// of a pool have the label `pool`, its number; terrace_pool_info says its kind and ratio. What
// ToPrometheus(prefix) writes is a part of it.
std::string ToPrometheus(const LedgerMetrics& metrics);

}  // namespace terrace

#endif  // TERRACE_METRICS_H_
