#include "terrace/cache.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "src/base/thread_pool.h"
#include "src/plan/epoch.h"
#include "src/store/rope_tables.h"

namespace terrace {

using internal::ThreadPool;

// A thread may be in the ledger while another is in the store (cache.h): nothing here changes after
// Create but what one of the two owns. The ledger's numbers may be read beside its calls.
class Cache::Impl {
 public:
  explicit Impl(std::shared_ptr<Backend> owner) : backend(std::move(owner)) {}
  ~Impl() {
    if (store != nullptr && rope_tables.has_value()) rope_tables->set_stream(store->stream());
  }

  CapacityPlan capacity;
  std::shared_ptr<Backend> backend;
  std::optional<internal::RopeTables> rope_tables;  // outlive the store, which borrows them
  std::unique_ptr<Ledger> ledger;
  std::unique_ptr<Store> store;
  bool in_order = false;  // steps run before the next is appended: in_flight_plans is 0

  // Errors: FailedPrecondition where a layer's call would not be of the last step.
  absl::Status CheckLastPlanBegun() const;
};

absl::Status Cache::Impl::CheckLastPlanBegun() const {
  const PlanHeader& step = store->step();
  const bool begun = step.total_bytes > 0;
  if (!in_order || !begun) return absl::OkStatus();  // the store says that nothing has begun
  const uint64_t last = ledger->last_plan().value();
  const uint32_t of_ledger = ledger->generation();
  if (step.generation != of_ledger) {
    return absl::FailedPreconditionError(
        absl::StrFormat("plan %d, which began last, is of generation %d, and the ledger abandoned "
                        "it: it is at plan %d of generation %d; begin a Snapshot(), then a step",
                        step.number, step.generation, last, of_ledger));
  }
  if (step.kind == PlanKind::kSnapshot) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "what began last is a snapshot at plan %d, and the last plan is %d: begin a step behind it",
        step.number, last));
  }
  if (step.number == last) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("the last plan is %d, and what began last is plan %d: Begin(plan %d) comes "
                      "before the calls of its layers",
                      last, step.number, last));
}

Cache::Cache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Cache::~Cache() = default;

absl::StatusOr<std::unique_ptr<Cache>> Cache::Create(const CacheOptions& options) {
  TERRACE_ASSIGN_OR_RETURN(CapacityPlan capacity,
                           PlanCapacity({.model = options.model,
                                         .memory_bytes = options.memory_bytes,
                                         .limits = options.limits,
                                         .prefill_sequences = options.prefill_sequences,
                                         .prefix_reuse = options.prefix.enabled,
                                         .checkpoints = options.checkpoints,
                                         .in_flight_plans = options.in_flight_plans}));
  TERRACE_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeBackend(options.backend));

  auto impl = std::make_unique<Impl>(std::move(backend));
  impl->capacity = std::move(capacity);
  impl->in_order = options.in_flight_plans == 0;
  const uint64_t epoch = options.epoch.has_value() ? *options.epoch : internal::NewEpoch();
  const Geometry& geometry = impl->capacity.geometry;
  TERRACE_ASSIGN_OR_RETURN(
      impl->store,
      Store::Create({.model = options.model, .geometry = geometry, .epoch = epoch}, impl->backend));
  // After the store: memory that cannot be had fails there, before the ledger counts its blocks.
  TERRACE_ASSIGN_OR_RETURN(impl->ledger, Ledger::Create({.geometry = geometry,
                                                         .epoch = epoch,
                                                         .in_flight_plans = options.in_flight_plans,
                                                         .prefix = options.prefix}));

  ThreadPool threads(std::max<int>(std::thread::hardware_concurrency(), 1));
  TERRACE_ASSIGN_OR_RETURN(internal::RopeTables rope_tables,
                           internal::RopeTables::Create(options.model, geometry.max_context_tokens,
                                                        *impl->backend, threads));
  impl->rope_tables.emplace(std::move(rope_tables));
  TERRACE_RETURN_IF_ERROR(impl->store->SetRopeTables(impl->rope_tables->views()));
  return std::unique_ptr<Cache>(new Cache(std::move(impl)));
}

absl::StatusOr<Admission> Cache::AllocateSequence(const SequenceRequest& request) {
  return impl_->ledger->AllocateSequence(request);
}

absl::StatusOr<PrefixMatch> Cache::Probe(const SequenceRequest& request) const {
  return impl_->ledger->Probe(request);
}

absl::StatusOr<PrefixMatch> Cache::ExtendMatch(SequenceId id) {
  return impl_->ledger->ExtendMatch(id);
}

absl::StatusOr<SequenceId> Cache::Fork(SequenceId id) { return impl_->ledger->Fork(id); }

absl::StatusOr<Plan> Cache::Append(absl::Span<const StepRequest> batch) {
  return impl_->ledger->Append(batch);
}

absl::Status Cache::Commit(SequenceId id, absl::Span<const int32_t> tokens) {
  return impl_->ledger->Commit(id, tokens);
}

absl::Status Cache::Truncate(SequenceId id, int32_t length) {
  return impl_->ledger->Truncate(id, length);
}

absl::Status Cache::FreeSequence(SequenceId id) { return impl_->ledger->FreeSequence(id); }

absl::Status Cache::Retire(PlanNumber plan) { return impl_->ledger->Retire(plan); }

absl::StatusOr<Abandoned> Cache::Abandon(PlanNumber first) { return impl_->ledger->Abandon(first); }

absl::StatusOr<Abandoned> Cache::Distrust(absl::Span<const Distrusted> sequences) {
  return impl_->ledger->Distrust(sequences);
}

absl::Status Cache::SetTime(int64_t now_ms) { return impl_->ledger->SetTime(now_ms); }
void Cache::ClearPrefixes() { impl_->ledger->ClearPrefixes(); }
std::vector<PrefixEvent> Cache::TakeEvents() { return impl_->ledger->TakeEvents(); }
PrefixFigures Cache::prefix_figures() const { return impl_->ledger->prefix_figures(); }
absl::StatusOr<Plan> Cache::Snapshot() const { return impl_->ledger->Snapshot(); }
absl::StatusOr<SequenceInfo> Cache::Info(SequenceId id) const { return impl_->ledger->Info(id); }
absl::StatusOr<PoolUse> Cache::Use(PoolIndex pool) const { return impl_->ledger->Use(pool); }
int32_t Cache::num_sequences() const { return impl_->ledger->num_sequences(); }
PlanNumber Cache::last_plan() const { return impl_->ledger->last_plan(); }
uint64_t Cache::epoch() const { return impl_->ledger->epoch(); }
uint32_t Cache::generation() const { return impl_->ledger->generation(); }

absl::Status Cache::Begin(const Plan& plan, Stream stream, int32_t padded_token_rows) {
  return impl_->store->Begin(plan, stream, padded_token_rows);
}

absl::Status Cache::Write(int layer, const LayerRows& rows, Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->Write(layer, rows, stream);
}

absl::Status Cache::Compress(int layer, const CompressInputs& inputs, Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->Compress(layer, inputs, stream);
}

absl::Status Cache::TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                                  const SlotsOut& out, Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->TranslateTopK(layer, queries, top_k, out, stream);
}

absl::Status Cache::TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                     const SlotsOut& out, Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->TranslateVisible(layer, queries, max_entries, out, stream);
}

absl::Status Cache::TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                                    Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->TranslateWindow(layer, queries, out, stream);
}

absl::Status Cache::GatherTopK(int layer, const Queries& queries, const TopK& top_k,
                               const RowsOut& out, Stream stream, PlaneKind plane) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->GatherTopK(layer, queries, top_k, out, stream, plane);
}

absl::Status Cache::GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                                  const RowsOut& out, Stream stream, PlaneKind plane) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->GatherVisible(layer, queries, max_entries, out, stream, plane);
}

absl::Status Cache::GatherWindow(int layer, const Queries& queries, const RowsOut& out,
                                 Stream stream) {
  TERRACE_RETURN_IF_ERROR(impl_->CheckLastPlanBegun());
  return impl_->store->GatherWindow(layer, queries, out, stream);
}

absl::Status Cache::WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                               const SlotList& slots, Stream stream) {
  return impl_->store->WriteSlots(layer, pool, plane, rows, slots, stream);
}

absl::Status Cache::ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                              const RowsOut& out, Stream stream) {
  return impl_->store->ReadSlots(layer, pool, plane, slots, out, stream);
}

absl::Status Cache::CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream) {
  return impl_->store->CopyBlocks(copies, stream);
}

absl::Status Cache::SetGlobalScale(int layer, PoolKind pool, float scale) {
  return impl_->store->SetGlobalScale(layer, pool, scale);
}

absl::StatusOr<PageView> Cache::Pages(int layer, PoolKind pool, PlaneKind plane) const {
  return impl_->store->Pages(layer, pool, plane);
}

Counters Cache::ReadCounters() const { return impl_->store->ReadCounters(); }
const PlanHeader& Cache::step() const { return impl_->store->step(); }
const StepView& Cache::step_view() const { return impl_->store->step_view(); }
int64_t Cache::memory_bytes() const { return impl_->store->memory_bytes(); }
const Geometry& Cache::geometry() const { return impl_->store->geometry(); }
Backend& Cache::backend() { return *impl_->backend; }
Ledger& Cache::ledger() { return *impl_->ledger; }
Store& Cache::store() { return *impl_->store; }
const CapacityPlan& Cache::capacity() const { return impl_->capacity; }

}  // namespace terrace
