// Cache joins one ledger and one store in one process: the whole library behind one object.
//
//   auto cache = terrace::Cache::Create({.model = terrace::DeepSeekV4Flash(),
//                                        .memory_bytes = 40 * terrace::kGiB});
//
// What a call does, costs and returns is said at Ledger (scheduler side) and Store (worker side).
//
// Memory: memory_bytes covers the pools, block tables and step buffers. The rope tables come on
// top: 256 bytes a position for each of the model's ropes that a layer uses, over
// limits.max_context_tokens positions, so 512 MiB for DeepSeek-V4-Flash's full 1,048,576. Lower the
// limit where sequences are shorter.
//
// Order: with in_flight_plans 0 a step is appended, begun and run before the next is appended. So
// Write, Compress, Translate... and Gather... are a FailedPrecondition while the last plan that was
// appended is not the last that was begun: they would write the rows of the step before, or none.
// That is so after Append, after Begin(snapshot) alone and after Abandon. An engine that appends
// ahead of the layers sets in_flight_plans, and sees to the order itself. The replay of a CUDA graph
// calls nothing here: it runs the step that was begun last, whichever it is.
//
// Thread-safe: the two sides are. One thread may be in a call of the scheduler's side while another
// is in a call of the worker's side; on each side one call at a time. What they share is atomic or
// never changes. Where the scheduler appends while the worker is in an earlier plan, in_flight_plans
// is above 0; with 0 an Append or Abandon in the middle of a step has the rest of its layers refused.

#ifndef TERRACE_CACHE_H_
#define TERRACE_CACHE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/backend.h"
#include "terrace/capacity.h"
#include "terrace/ledger.h"
#include "terrace/model.h"
#include "terrace/plan.h"
#include "terrace/store.h"

namespace terrace {

struct CacheOptions {
  ModelSpec model;
  int64_t memory_bytes = 0;
  Limits limits = {};
  BackendOptions backend = {};
  // LedgerOptions: plans that may be unretired, and what tells this cache's plans from another's
  // (none: an epoch that differs by itself).
  int32_t in_flight_plans = 0;
  std::optional<uint64_t> epoch = std::nullopt;
  PrefixOptions prefix = {};
  // CapacityRequest: sequences that are charged a prefill step's windows (0 = max_sequences), and
  // checkpoints of prefixes that no live sequence uses (-1 = an eighth of the rest).
  int32_t prefill_sequences = 0;
  int32_t checkpoints = -1;
};

class Cache {
 public:
  // Plans the capacity, makes the backend, the ledger and the store, and computes the model's rope
  // tables.
  // Errors: those of PlanCapacity, MakeBackend, Ledger::Create and Store::Create.
  // Cost: about 1 us a position and rope table, divided over the machine's cores.
  static absl::StatusOr<std::unique_ptr<Cache>> Create(const CacheOptions& options);
  ~Cache();

  // ---- Scheduler side (ledger.h).

  absl::StatusOr<Admission> AllocateSequence(const SequenceRequest& request);
  absl::StatusOr<PrefixMatch> Probe(const SequenceRequest& request) const;
  absl::StatusOr<PrefixMatch> ExtendMatch(SequenceId id);
  absl::StatusOr<SequenceId> Fork(SequenceId id);
  absl::StatusOr<Plan> Append(absl::Span<const StepRequest> batch);
  absl::Status Commit(SequenceId id, absl::Span<const int32_t> tokens);
  absl::Status Truncate(SequenceId id, int32_t length);
  absl::Status FreeSequence(SequenceId id);
  absl::Status Retire(PlanNumber plan);
  absl::StatusOr<Abandoned> Abandon(PlanNumber first);
  absl::StatusOr<Abandoned> Distrust(absl::Span<const Distrusted> sequences);
  absl::Status SetTime(int64_t now_ms);
  void ClearPrefixes();
  std::vector<PrefixEvent> TakeEvents();
  PrefixFigures prefix_figures() const;
  absl::StatusOr<Plan> Snapshot() const;
  absl::StatusOr<SequenceInfo> Info(SequenceId id) const;
  absl::StatusOr<PoolUse> Use(PoolIndex pool) const;
  int32_t num_sequences() const;
  PlanNumber last_plan() const;
  uint64_t epoch() const;
  uint32_t generation() const;

  // ---- Worker side (store.h).

  absl::Status Begin(const Plan& plan, Stream stream, int32_t padded_token_rows = 0);
  absl::Status Write(int layer, const LayerRows& rows, Stream stream);
  absl::Status Compress(int layer, const CompressInputs& inputs, Stream stream);
  absl::Status TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                             const SlotsOut& out, Stream stream);
  absl::Status TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                const SlotsOut& out, Stream stream);
  absl::Status TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                               Stream stream);
  absl::Status GatherTopK(int layer, const Queries& queries, const TopK& top_k, const RowsOut& out,
                          Stream stream, PlaneKind plane = PlaneKind::kLatent);
  absl::Status GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                             const RowsOut& out, Stream stream,
                             PlaneKind plane = PlaneKind::kLatent);
  absl::Status GatherWindow(int layer, const Queries& queries, const RowsOut& out, Stream stream);
  absl::Status WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                          const SlotList& slots, Stream stream);
  absl::Status ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                         const RowsOut& out, Stream stream);
  absl::Status CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream);
  absl::Status SetGlobalScale(int layer, PoolKind pool, float scale);
  absl::StatusOr<PageView> Pages(int layer, PoolKind pool,
                                 PlaneKind plane = PlaneKind::kLatent) const;
  Counters ReadCounters() const;
  const PlanHeader& step() const;
  const StepView& step_view() const;
  int64_t memory_bytes() const;

  // ---- Both.

  const Geometry& geometry() const;
  const CapacityPlan& capacity() const;
  Backend& backend();
  Ledger& ledger();
  Store& store();

 private:
  class Impl;
  explicit Cache(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace

#endif  // TERRACE_CACHE_H_
