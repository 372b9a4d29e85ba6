// The calls of a ledger, in the header's order. ledger_check.cc has the walk over everything.

#include "terrace/ledger.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "src/ledger/ledger_arguments.h"
#include "src/ledger/ledger_impl.h"
#include "src/ledger/shortage.h"
#include "src/ledger/step_request.h"
#include "src/plan/plan_builder.h"

namespace terrace {
namespace {

using internal::PlanBuilder;

using internal::BlocksOf;
using internal::ChunksOf;
using internal::PoolSet;
using internal::Sequence;
using internal::SequenceTable;
using internal::StepPlanner;

}  // namespace

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Create(const LedgerOptions& options) {
  TERRACE_RETURN_IF_ERROR(internal::CheckOptions(options));
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the ledger's sequences and blocks");
  }
  if (!impl->pools.ok()) return absl::ResourceExhaustedError("no memory for the block tables");
  return std::unique_ptr<Ledger>(new Ledger(std::move(impl)));
}

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::~Ledger() = default;

// ---- Sequences begin

absl::StatusOr<Admission> Ledger::AllocateSequence(const SequenceRequest& request) {
  TERRACE_RETURN_IF_ERROR(internal::CheckRequest(geometry(), request));
  const int32_t known = static_cast<int32_t>(request.tokens.size());
  const int32_t chunks = ChunksOf(geometry(), known);
  for (const int p : impl_->pools.full_pools()) {
    if (chunks > impl_->pools.pool(p).capacity()) {
      return internal::LargerThanPool(geometry(), p, chunks);
    }
  }
  TERRACE_ASSIGN_OR_RETURN(const SequenceId id, impl_->sequences.Add());
  Sequence& sequence = *impl_->sequences.Find(id);
  sequence.known = known;
  sequence.ids_ahead = request.ids_ahead;
  const PrefixMatch match = impl_->prefixes.Admit(sequence, request);
  return Admission{.id = id, .length = sequence.length, .match = match};
}

absl::StatusOr<PrefixMatch> Ledger::Probe(const SequenceRequest& request) const {
  TERRACE_RETURN_IF_ERROR(internal::CheckRequest(geometry(), request));
  return impl_->prefixes.Probe(request);
}

absl::StatusOr<PrefixMatch> Ledger::ExtendMatch(SequenceId id) {
  Sequence* const sequence = impl_->sequences.Find(id);
  if (sequence == nullptr) return SequenceTable::NotFound(id);
  if (sequence->undecided_drafts() > 0) return internal::UndecidedDraftsError(*sequence);
  return impl_->prefixes.Extend(*sequence);
}

absl::StatusOr<SequenceId> Ledger::Fork(SequenceId id) {
  Sequence* const parent = impl_->sequences.Find(id);
  if (parent == nullptr) return SequenceTable::NotFound(id);
  if (parent->length > parent->known) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "sequence %d has %d rows and %d token ids; Commit or Truncate before it forks",
        parent->index, parent->length, parent->known));
  }
  TERRACE_ASSIGN_OR_RETURN(const SequenceId child_id, impl_->sequences.AddCopyOf(id));
  Sequence& child = *impl_->sequences.Find(child_id);
  child.last_batch = 0;
  child.tables_sent = false;
  parent->shares_last_blocks = child.shares_last_blocks = true;
  impl_->pools.Share(*parent, child);
  impl_->prefixes.Fork(child);
  return child_id;
}

// ---- Sequences move on

absl::StatusOr<Plan> Ledger::Append(absl::Span<const StepRequest> batch) {
  StepPlanner step(impl_->options, impl_->sequences, impl_->pools, impl_->prefixes,
                   impl_->step_memory, batch);
  TERRACE_RETURN_IF_ERROR(step.Measure());
  TERRACE_RETURN_IF_ERROR(step.Reserve());
  return step.Apply();
}

absl::Status Ledger::Commit(SequenceId id, absl::Span<const int32_t> tokens) {
  Sequence* const sequence = impl_->sequences.Find(id);
  if (sequence == nullptr) return SequenceTable::NotFound(id);
  // One id more than rows: it is sampled after the last row.
  const size_t room = geometry().max_context_tokens + 1 - sequence->known;
  if (tokens.size() > room) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%d tokens after %d are beyond max_context_tokens, %d, and the one sampled after them",
        tokens.size(), sequence->known, geometry().max_context_tokens));
  }
  const int32_t count = static_cast<int32_t>(tokens.size());
  const int32_t due = std::max(0, sequence->most_rows() + 1 - sequence->known);
  if (count > due && !sequence->ids_ahead) {
    return absl::FailedPreconditionError(
        absl::StrFormat("sequence %d has %d rows and %d token ids: %d more are not in 0..%d, the "
                        "ids that may be one "
                        "ahead of the rows; feed them first, or set SequenceRequest::ids_ahead",
                        sequence->index, sequence->length, sequence->known, count, due));
  }
  sequence->known += count;
  impl_->prefixes.PublishCommitted(*sequence, tokens);
  return absl::OkStatus();
}

absl::Status Ledger::Truncate(SequenceId id, int32_t length) {
  Sequence* const sequence = impl_->sequences.Find(id);
  if (sequence == nullptr) return SequenceTable::NotFound(id);
  const int32_t shortest = sequence->length - sequence->undecided_drafts();
  if (length < shortest || length > sequence->length) {
    return absl::InvalidArgumentError(
        absl::StrFormat("length %d is not in %d..%d: only undecided drafts can be taken back",
                        length, shortest, sequence->length));
  }
  PoolSet& pools = impl_->pools;
  // Attached chunks reach beyond the rows while they are refed.
  const int32_t attached = sequence->write_from / geometry().chunk_tokens;
  pools.FreeChunks(*sequence, std::max(ChunksOf(geometry(), length), attached));
  if (pools.has_window()) {
    internal::BlockRange& window = sequence->window.current;
    const int32_t end = BlocksOf(geometry().pools[pools.window_pool()], length);
    pools.Free(pools.window_pool(), *sequence, {end, window.end});
    window.end = end;
  }
  sequence->length = length;
  return absl::OkStatus();
}

absl::Status Ledger::FreeSequence(SequenceId id) {
  Sequence* const sequence = impl_->sequences.Find(id);
  if (sequence == nullptr) return SequenceTable::NotFound(id);
  impl_->prefixes.Leave(*sequence);
  impl_->pools.FreeChunks(*sequence, 0);
  impl_->pools.FreeWindow(*sequence);
  impl_->pools.FreeState(*sequence);
  impl_->pools.DropRestore(*sequence);
  impl_->sequences.Remove(id);
  return absl::OkStatus();
}

// ---- Plans, time and prefixes

absl::Status Ledger::Retire(PlanNumber plan) { return impl_->pools.Retire(plan); }

absl::Status Ledger::SetTime(int64_t now_ms) { return impl_->prefixes.SetTime(now_ms); }

void Ledger::ClearPrefixes() { impl_->prefixes.Clear(); }

std::vector<PrefixEvent> Ledger::TakeEvents() { return impl_->prefixes.TakeEvents(); }

PrefixFigures Ledger::prefix_figures() const { return impl_->prefixes.figures(); }

// ---- Looking

absl::StatusOr<Plan> Ledger::Snapshot() const {
  const PoolSet& pools = impl_->pools;
  const auto for_each_block = [&](auto visit) {
    for (const Sequence& sequence : impl_->sequences.all()) {
      if (!sequence.live) continue;
      pools.ForEachBlockOf(sequence, [&](int p, int32_t index, BlockId block) {
        visit(BlockPatch{p, sequence.index, index, block.value()});
      });
    }
  };
  int64_t patches = 0;
  for_each_block([&](const BlockPatch&) { ++patches; });
  if (PlanBytes({.patches = patches}) > std::numeric_limits<int32_t>::max()) {
    return absl::OutOfRangeError(
        absl::StrFormat("a snapshot of %d blocks is beyond 2 GiB", patches));
  }
  PlanBuilder plan(geometry(), PlanKind::kSnapshot, {.patches = patches});
  for_each_block([&](const BlockPatch& patch) { plan.AddPatch(patch); });
  return std::move(plan).Build(epoch(), last_plan(), pools.generation());
}

absl::StatusOr<SequenceInfo> Ledger::Info(SequenceId id) const {
  const Sequence* const sequence = impl_->sequences.Find(id);
  if (sequence == nullptr) return SequenceTable::NotFound(id);
  return SequenceInfo{.index = sequence->index,
                      .length = sequence->length,
                      .known = sequence->known,
                      .settled = sequence->settled(),
                      .undecided_drafts = sequence->undecided_drafts(),
                      .published = sequence->prefix.chunks * geometry().chunk_tokens,
                      .write_from = sequence->write_from,
                      .approximate = sequence->approximate};
}

absl::StatusOr<PoolUse> Ledger::Use(PoolIndex pool) const {
  const int num_pools = geometry().num_pools;
  if (pool < PoolIndex(0) || pool >= PoolIndex(num_pools)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("pool %d is not one of the ledger's %d pools", pool.value(), num_pools));
  }
  return impl_->pools.UseOf(pool.value());
}

int32_t Ledger::num_sequences() const { return impl_->sequences.num_live(); }
PlanNumber Ledger::last_plan() const { return PlanNumber(impl_->pools.last_plan()); }
uint64_t Ledger::epoch() const { return *impl_->options.epoch; }
uint32_t Ledger::generation() const { return impl_->pools.generation(); }
const Geometry& Ledger::geometry() const { return impl_->options.geometry; }

}  // namespace terrace
