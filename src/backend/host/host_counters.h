// How the host backend's threads raise counters.

#ifndef TERRACE_SRC_BACKEND_HOST_HOST_COUNTERS_H_
#define TERRACE_SRC_BACKEND_HOST_HOST_COUNTERS_H_

#include <atomic>
#include <cstdint>

#include "terrace/counters.h"

namespace terrace::internal {

// Thread-safe: yes.
inline void Raise(uint64_t& counter, uint64_t by) {
  if (by != 0) std::atomic_ref<uint64_t>(counter).fetch_add(by, std::memory_order_relaxed);
}

inline void Raise(Counters* counters, const Counters& by) {
  Raise(counters->nonfinite_values, by.nonfinite_values);
  Raise(counters->skipped_slots, by.skipped_slots);
  Raise(counters->skipped_entries, by.skipped_entries);
  Raise(counters->skipped_positions, by.skipped_positions);
  Raise(counters->truncated_queries, by.truncated_queries);
}

// Thread-safe: yes.
inline void RaiseToAtLeast(uint64_t& counter, uint64_t value) {
  const std::atomic_ref<uint64_t> shared(counter);
  uint64_t found = shared.load(std::memory_order_relaxed);
  while (found < value && !shared.compare_exchange_weak(found, value, std::memory_order_relaxed)) {
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_HOST_HOST_COUNTERS_H_
