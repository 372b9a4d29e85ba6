#include "terrace/ledger.h"

#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/ledger_impl.h"
#include "terrace/check.h"
#include "terrace/geometry_check.h"
#include "terrace/plan_builder.h"

namespace terrace {

Ledger::Impl::Impl(const LedgerOptions& options)
    : options(options), sequences(options.geometry.max_sequences) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    pools.emplace_back(geometry.pools[p].capacity_blocks);
    tables.emplace_back(geometry.max_sequences, geometry.pools[p].blocks_per_lane);
  }
  changes.reserve(geometry.max_sequences);
}

absl::Status Ledger::Impl::NotFound(SequenceId id) const {
  return absl::NotFoundError(
      absl::StrFormat("no sequence has the handle {lane %d, generation %d}: it was freed or never "
                      "allocated",
                      id.lane, id.generation));
}

void Ledger::Impl::FreeBlocks(int pool, int32_t lane, BlockRange range) {
  if (range.size() == 0) return;
  std::optional<PlanNumber> drain_until;
  if (!idle()) drain_until = PlanNumber(number);
  const absl::Status status = pools[pool].Free(tables[pool].Blocks(lane, range), drain_until);
  TERRACE_CHECK_EQ(status.ok(), true);
}

void Ledger::Impl::FreeChunks(int32_t lane, Sequence& sequence, int32_t length) {
  const int32_t chunks = ChunksOf(length);
  for (int p = 0; p < geometry.num_pools; ++p) {
    if (is_full(p)) FreeBlocks(p, lane, {chunks, sequence.chunks});
  }
  sequence.chunks = chunks;
}

PoolUse Ledger::Impl::UseOf(int pool) const {
  return {.capacity = pools[pool].capacity(),
          .free = pools[pool].num_free(),
          .live = pools[pool].num_live(),
          .draining = pools[pool].num_draining()};
}

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Create(const LedgerOptions& options) {
  if (absl::Status status = ValidateGeometry(options.geometry); !status.ok()) return status;
  if (options.in_flight_plans < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in_flight_plans is %d, not 0 or more", options.in_flight_plans));
  }
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the ledger's lanes and blocks");
  }
  for (const BlockTable& table : impl->tables) {
    if (!table.ok()) return absl::ResourceExhaustedError("no memory for the block tables");
  }
  return std::unique_ptr<Ledger>(new Ledger(std::move(impl)));
}

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::~Ledger() = default;

absl::StatusOr<SequenceId> Ledger::AllocateSequence(const SequenceRequest& request) {
  const size_t limit = impl_->geometry.max_context_tokens;
  if (request.tokens.size() > limit) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a prompt of %d tokens is beyond max_context_tokens, %d", request.tokens.size(), limit));
  }
  const std::optional<SequenceId> id = impl_->sequences.Add();
  if (!id.has_value()) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "all %d lanes are taken; retry when a sequence has finished", num_sequences()));
  }
  impl_->Find(*id)->known = static_cast<int32_t>(request.tokens.size());
  return *id;
}

absl::Status Ledger::Commit(SequenceId id, absl::Span<const int32_t> tokens) {
  Sequence* const sequence = impl_->Find(id);
  if (sequence == nullptr) return impl_->NotFound(id);
  const size_t room = impl_->geometry.max_context_tokens - sequence->known;
  if (tokens.size() > room) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%d tokens after %d are beyond max_context_tokens, %d", tokens.size(),
                        sequence->known, impl_->geometry.max_context_tokens));
  }
  sequence->known += static_cast<int32_t>(tokens.size());
  return absl::OkStatus();
}

absl::Status Ledger::Truncate(SequenceId id, int32_t length) {
  Sequence* const sequence = impl_->Find(id);
  if (sequence == nullptr) return impl_->NotFound(id);
  const int32_t shortest = sequence->length - sequence->undecided_drafts();
  if (length < shortest || length > sequence->length) {
    return absl::InvalidArgumentError(
        absl::StrFormat("length %d is not in %d..%d: only undecided drafts can be taken back",
                        length, shortest, sequence->length));
  }
  impl_->FreeChunks(id.lane, *sequence, length);
  if (impl_->has_window()) {
    BlockRange& window = sequence->window.current;
    const int window_pool = impl_->geometry.window_pool;
    const int32_t end = BlocksOf(impl_->geometry.pools[window_pool], length);
    impl_->FreeBlocks(window_pool, id.lane, {end, window.end});
    window.end = end;
  }
  sequence->length = length;
  return absl::OkStatus();
}

absl::Status Ledger::FreeSequence(SequenceId id) {
  Sequence* const sequence = impl_->Find(id);
  if (sequence == nullptr) return impl_->NotFound(id);
  impl_->FreeChunks(id.lane, *sequence, 0);
  if (impl_->has_window()) {
    impl_->FreeBlocks(impl_->geometry.window_pool, id.lane, sequence->window.old);
    impl_->FreeBlocks(impl_->geometry.window_pool, id.lane, sequence->window.current);
  }
  impl_->sequences.Remove(id);
  return absl::OkStatus();
}

absl::Status Ledger::Retire(PlanNumber plan) {
  if (impl_->options.in_flight_plans == 0) {
    return absl::FailedPreconditionError(
        "in_flight_plans is 0: nothing waits for a plan to retire");
  }
  if (plan.value() <= impl_->retired || plan.value() > impl_->number) {
    return absl::InvalidArgumentError(
        absl::StrFormat("plan %d is not in flight: %d were made and %d of them are retired",
                        plan.value(), impl_->number, impl_->retired));
  }
  impl_->retired = plan.value();
  for (BlockPool& pool : impl_->pools) pool.Retire(plan);
  return absl::OkStatus();
}

absl::StatusOr<SequenceInfo> Ledger::Info(SequenceId id) const {
  const Sequence* const sequence = impl_->Find(id);
  if (sequence == nullptr) return impl_->NotFound(id);
  return SequenceInfo{.lane = id.lane,
                      .length = sequence->length,
                      .known = sequence->known,
                      .settled = sequence->settled(),
                      .undecided_drafts = sequence->undecided_drafts()};
}

PoolUse Ledger::Use(int pool) const { return impl_->UseOf(pool); }
int32_t Ledger::num_sequences() const { return impl_->sequences.num_live(); }
PlanNumber Ledger::last_plan() const { return PlanNumber(impl_->number); }
const Geometry& Ledger::geometry() const { return impl_->geometry; }

}  // namespace terrace
