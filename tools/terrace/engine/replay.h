// Replay serves a trace with a whole Terrace: a ledger, and a store whose rows are written every
// step and read back (`terrace replay`; docs/replay.md).

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_REPLAY_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_REPLAY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/backend.h"
#include "terrace/capacity.h"
#include "terrace/model.h"
#include "terrace/prefix.h"
#include "terrace/store.h"
#include "tools/terrace/engine/occupancy.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/trace/trace.h"
#include "tools/terrace/verify/verifier.h"

namespace terrace::tools {

struct ReplayOptions {
  ModelSpec model;
  int64_t memory_bytes = 0;
  SchedulerOptions scheduler = {};
  PrefixOptions prefix = {};
  bool store_whole_chunk = false;
  bool with_data = true;  // false: the ledger alone
  BackendOptions backend = {};
  std::string layers;  // as ParseLayers; empty: one of each kind on the host, all on a GPU
  // The store makes the entries of layers that have a state pool of raw rows; else they are
  // written.
  bool compress = false;
  VerifierOptions verifier = {};
  // For tests: called on every step after all rows were written and before any is read back.
  std::function<absl::Status(Store&)> after_write = {};
  std::function<void(const SchedulerStats&)> on_step = {};
  std::function<bool()> stop = {};  // asked before every step: true ends the run with what it has
};

struct ReplayResult {
  CapacityPlan capacity;
  std::string backend;  // "host", "cuda"; "none" without data
  LayerRange layers = {};
  int64_t store_bytes = 0;
  SchedulerStats scheduler;
  VerifierStats verifier;
  Counters counters;  // of the store; all but truncated_queries must be zero
  OccupancySeries occupancy = OccupancySeries();
  PrefixFigures prefix;
  int64_t checkpoint_bytes_peak = 0;  // most window and most overlap blocks that only they kept
  // Live or draining after every sequence was freed, or not free when the prefixes were cleared.
  int64_t leaked_blocks = 0;
  double wall_seconds = 0;        // from the first request to the last
  int64_t peak_memory_bytes = 0;  // resident, of the process on the host

  // Whether the library did all that it promises: no wrong row, no lost block.
  bool ok() const;
};

// Errors: InvalidArgument for bad times or shares, and for `compress` with a model or layers
// without state; those of PlanCapacity, MakeBackend and Store::Create; whatever a step failed with.
absl::StatusOr<ReplayResult> Replay(absl::Span<const TraceRequest> requests,
                                    const ReplayOptions& options);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_REPLAY_H_
