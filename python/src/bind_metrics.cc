#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "python/src/bind.h"
#include "python/src/words.h"
#include "terrace/cache.h"
#include "terrace/metrics.h"
#include "terrace/store.h"

namespace terrace::python {
namespace {

// How all metrics are written.
template <typename Metrics>
void AddTexts(nb::class_<Metrics>& c) {
  c.def(
       "to_json", [](const Metrics& m) { return ToJson(m); }, "One JSON object.")
      .def(
          "to_prometheus", [](const Metrics& m) { return ToPrometheus(m); },
          "Prometheus' text format, version 0.0.4.");
}

void BindLedgerMetrics(nb::module_& module) {
  nb::class_<PoolMetrics>(module, "PoolMetrics", "What a monitor is told of a pool.")
      .def_prop_ro("kind", [](const PoolMetrics& p) { return WordOf(p.kind); })
      .def_ro("ratio", &PoolMetrics::ratio, "Tokens per entry; 0 in an overlap pool.")
      .def_ro("use", &PoolMetrics::use, "Now.")
      .def_ro("shortages", &PoolMetrics::shortages, "Calls that failed because it was short.");
  nb::class_<LedgerMetrics> metrics(
      module, "LedgerMetrics",
      "What a monitor is told of a ledger. Sums since it was made, but for sequences,\n"
      "plans_in_flight, waiting_events and the pools' use, which are of now.");
  const auto add = [&](const char* name, int64_t LedgerMetrics::*member) {
    metrics.def_ro(name, member);
  };
  add("max_sequences", &LedgerMetrics::max_sequences);
  add("sequences", &LedgerMetrics::sequences);
  add("allocated_sequences", &LedgerMetrics::allocated_sequences);
  add("refused_sequences", &LedgerMetrics::refused_sequences);
  add("finished_sequences", &LedgerMetrics::finished_sequences);
  add("preempted_sequences", &LedgerMetrics::preempted_sequences);
  add("cancelled_sequences", &LedgerMetrics::cancelled_sequences);
  add("plans", &LedgerMetrics::plans);
  add("plans_in_flight", &LedgerMetrics::plans_in_flight);
  add("lost_plans", &LedgerMetrics::lost_plans);
  add("abandons", &LedgerMetrics::abandons);
  add("distrusts", &LedgerMetrics::distrusts);
  add("restarted_sequences", &LedgerMetrics::restarted_sequences);
  add("events", &LedgerMetrics::events);
  add("waiting_events", &LedgerMetrics::waiting_events);
  add("dropped_events", &LedgerMetrics::dropped_events);
  metrics.def_ro("pools", &LedgerMetrics::pools, "By their index.")
      .def_ro("prefix", &LedgerMetrics::prefix);
  AddTexts(metrics);
}

}  // namespace

void BindMetrics(nb::module_& module) {
  BindLedgerMetrics(module);
  nb::class_<StoreMetrics> store(module, "StoreMetrics", "What a monitor is told of a store.");
  store.def_ro("memory_bytes", &StoreMetrics::memory_bytes, "Pools and tables.")
      .def_ro("counters", &StoreMetrics::counters);
  AddTexts(store);
  nb::class_<CacheMetrics> cache(module, "CacheMetrics", "What a monitor is told of a cache.");
  cache.def_ro("ledger", &CacheMetrics::ledger).def_ro("store", &CacheMetrics::store);
  AddTexts(cache);
}

}  // namespace terrace::python
