// Counters of what kernels skipped or mended: bad input found where the host cannot see it.

#ifndef TERRACE_COUNTERS_H_
#define TERRACE_COUNTERS_H_

#include <cstdint>

namespace terrace {

// Raised on rare paths only, since the store was created. Reading them never stalls a device.
struct Counters {
  uint64_t nonfinite_values = 0;   // NaN or infinity in a row that was written
  uint64_t skipped_slots = 0;      // raw slots outside the pool (-1 is not counted)
  uint64_t skipped_entries = 0;    // chosen entries that the query does not see (-1 is not counted)
  uint64_t skipped_positions = 0;  // rows whose position lies beyond the RoPE table
  uint64_t truncated_queries = 0;  // queries that see more entries than the output holds
};

}  // namespace terrace

#endif  // TERRACE_COUNTERS_H_
