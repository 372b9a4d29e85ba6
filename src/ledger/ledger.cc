#include "terrace/ledger.h"

#include <algorithm>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"
#include "src/model/geometry_check.h"
#include "src/plan/plan_builder.h"

namespace terrace {

namespace {

bool HasFullPool(const Geometry& geometry) {
  return std::any_of(geometry.pools, geometry.pools + geometry.num_pools,
                     [](const PoolGeometry& pool) { return pool.kind == PoolKind::kFull; });
}

// A chunk has a block of every full pool to itself, a checkpoint one of the window pool and one of
// the overlap pool: there are never more of them than blocks.
PrefixIndexOptions IndexOptions(const LedgerOptions& options, bool reuses) {
  const Geometry& geometry = options.geometry;
  PrefixIndexOptions index{.chunk_tokens = geometry.chunk_tokens, .hash = options.prefix.hash};
  if (!reuses) return index;
  index.max_chunks = std::numeric_limits<int32_t>::max();
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolGeometry& pool = geometry.pools[p];
    if (pool.kind != PoolKind::kFull) continue;
    ++index.blocks_per_chunk;
    index.max_chunks = std::min(index.max_chunks, pool.capacity_blocks);
  }
  if (geometry.window_pool >= 0 &&
      options.prefix.checkpoints.kind != CheckpointPolicy::Kind::kNone) {
    index.max_checkpoints = geometry.pools[geometry.window_pool].capacity_blocks;
    index.blocks_per_checkpoint = CheckpointBlocks(geometry, geometry.chunk_tokens).size();
    if (geometry.overlap_pool >= 0) {
      index.max_checkpoints =
          std::min(index.max_checkpoints, geometry.pools[geometry.overlap_pool].capacity_blocks);
    }
  }
  return index;
}

absl::Status CheckPrefixOptions(const PrefixOptions& prefix, const Geometry& geometry) {
  if (!prefix.enabled) return absl::OkStatus();
  if (prefix.hash == nullptr) return absl::InvalidArgumentError("prefix.hash is null");
  const CheckpointPolicy& policy = prefix.checkpoints;
  switch (policy.kind) {
    case CheckpointPolicy::Kind::kNone:
      return absl::OkStatus();
    case CheckpointPolicy::Kind::kEndOfPromptAndOutput:
      break;
    case CheckpointPolicy::Kind::kEveryTokens:
      if (policy.tokens >= 1 && policy.tokens % geometry.chunk_tokens == 0) break;
      return absl::InvalidArgumentError(
          absl::StrFormat("checkpoints every %d tokens: not a multiple of a chunk's %d",
                          policy.tokens, geometry.chunk_tokens));
    default:
      return absl::InvalidArgumentError(
          absl::StrFormat("no checkpoint policy has the number %d", static_cast<int>(policy.kind)));
  }
  if (geometry.window_pool < 0) return absl::OkStatus();
  const int32_t block = geometry.pools[geometry.window_pool].tokens_per_block;
  if (geometry.chunk_tokens % block != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "window blocks of %d tokens do not divide a chunk of %d: no checkpoint can end with a "
        "block; make them smaller, or choose CheckpointPolicy::None()",
        block, geometry.chunk_tokens));
  }
  if (geometry.window_tokens - 1 > geometry.chunk_tokens) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a window of %d tokens reaches beyond a chunk of %d: choose "
                        "CheckpointPolicy::None()",
                        geometry.window_tokens, geometry.chunk_tokens));
  }
  return absl::OkStatus();
}

}  // namespace

Ledger::Impl::Impl(const LedgerOptions& options)
    : options(options),
      sequences(options.geometry.max_sequences),
      reuses(options.prefix.enabled && HasFullPool(options.geometry)),
      index(IndexOptions(options, reuses)) {
  for (int p = 0; p < geometry.num_pools; ++p) {
    pools.emplace_back(geometry.pools[p].capacity_blocks);
    tables.emplace_back(geometry.max_sequences, geometry.pools[p].blocks_per_sequence);
    if (is_full(p)) full_pools.push_back(p);
    if (geometry.pools[p].kind == PoolKind::kState) state_pools.push_back(p);
  }
  changes.reserve(geometry.max_sequences);
  chunk_blocks.resize(full_pools.size());
}

absl::Status Ledger::Impl::NotFound(SequenceId id) const {
  return absl::NotFoundError(
      absl::StrFormat("no sequence has the handle {index %d, generation %d}: it was freed or never "
                      "allocated",
                      id.index, id.generation));
}

void Ledger::Impl::FreeBlocks(int pool, int32_t sequence_index, BlockRange range) {
  if (range.size() == 0) return;
  std::optional<PlanNumber> drain_until;
  if (!idle()) drain_until = PlanNumber(number);
  const absl::Status status =
      pools[pool].Free(tables[pool].Blocks(sequence_index, range), drain_until);
  TERRACE_CHECK_EQ(status.ok(), true);
}

void Ledger::Impl::FreeBlock(int pool, BlockId block) {
  std::optional<PlanNumber> drain_until;
  if (!idle()) drain_until = PlanNumber(number);
  const absl::Status status = pools[pool].Free(absl::MakeConstSpan(&block, 1), drain_until);
  TERRACE_CHECK_EQ(status.ok(), true);
}

void Ledger::Impl::FreeChunks(int32_t sequence_index, Sequence& sequence, int32_t chunks) {
  for (const int p : full_pools) FreeBlocks(p, sequence_index, {chunks, sequence.chunks});
  sequence.chunks = chunks;
}

void Ledger::Impl::FreeWindow(int32_t sequence_index, Sequence& sequence) {
  if (!has_window()) return;
  FreeBlocks(geometry.window_pool, sequence_index, sequence.window.old);
  FreeBlocks(geometry.window_pool, sequence_index, sequence.window.current);
  sequence.window = {};
}

void Ledger::Impl::FreeState(int32_t sequence_index, Sequence& sequence) {
  if (!std::exchange(sequence.has_state, false)) return;
  for (const int p : state_pools) {
    const BlockId block = tables[p].Row(sequence_index)[0];
    // Forks may still have it.
    if (p == csa_state_pool && pools[p].IsHeldByOne(block) && IsCapturePending(block)) {
      captured_states.push_back(block);
    } else {
      FreeBlock(p, block);
    }
  }
}

bool Ledger::Impl::IsCapturePending(BlockId state) const {
  return std::any_of(
      settled_checkpoints.begin(), settled_checkpoints.end(),
      [&](const CheckpointRecord& record) { return record.state_block == state.value(); });
}

void Ledger::Impl::FreeCapturedStates() {
  std::erase_if(captured_states, [&](BlockId state) {
    if (IsCapturePending(state)) return false;
    FreeBlock(csa_state_pool, state);
    return true;
  });
}

// What the sequence's next step would have begun with is of no use any more, or was named by it.
void Ledger::Impl::DropRestore(Sequence& sequence) {
  if (sequence.restore_block.has_value()) FreeBlock(geometry.overlap_pool, *sequence.restore_block);
  sequence.restore_block.reset();
  sequence.restores = false;
}

PoolUse Ledger::Impl::UseOf(int pool) const {
  return {.capacity = pools[pool].capacity(),
          .free = pools[pool].num_free(),
          .live = pools[pool].num_live(),
          .cached = pools[pool].num_cached(),
          .draining = pools[pool].num_draining()};
}

absl::StatusOr<std::unique_ptr<Ledger>> Ledger::Create(const LedgerOptions& options) {
  if (absl::Status status = ValidateGeometry(options.geometry); !status.ok()) return status;
  if (absl::Status status = CheckPrefixOptions(options.prefix, options.geometry); !status.ok()) {
    return status;
  }
  if (options.in_flight_plans < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("in_flight_plans is %d, not 0 or more", options.in_flight_plans));
  }
  std::unique_ptr<Impl> impl;
  try {
    impl = std::make_unique<Impl>(options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for the ledger's sequences and blocks");
  }
  for (const BlockTable& table : impl->tables) {
    if (!table.ok()) return absl::ResourceExhaustedError("no memory for the block tables");
  }
  return std::unique_ptr<Ledger>(new Ledger(std::move(impl)));
}

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::~Ledger() = default;

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
  if (sequence->prefix.publishes) {
    sequence->prefix.tail.Append(tokens);
    impl_->PublishCommitted(*sequence, id.index);
  }
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
  // Attached chunks reach beyond the rows while they are fed again.
  const int32_t attached = sequence->write_from / impl_->geometry.chunk_tokens;
  impl_->FreeChunks(id.index, *sequence, std::max(impl_->ChunksOf(length), attached));
  if (impl_->has_window()) {
    BlockRange& window = sequence->window.current;
    const int window_pool = impl_->geometry.window_pool;
    const int32_t end = BlocksOf(impl_->geometry.pools[window_pool], length);
    impl_->FreeBlocks(window_pool, id.index, {end, window.end});
    window.end = end;
  }
  sequence->length = length;
  return absl::OkStatus();
}

absl::Status Ledger::FreeSequence(SequenceId id) {
  Sequence* const sequence = impl_->Find(id);
  if (sequence == nullptr) return impl_->NotFound(id);
  impl_->LeavePath(*sequence);
  impl_->FreeChunks(id.index, *sequence, 0);
  impl_->FreeWindow(id.index, *sequence);
  impl_->FreeState(id.index, *sequence);
  impl_->DropRestore(*sequence);
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
  return SequenceInfo{.index = id.index,
                      .length = sequence->length,
                      .known = sequence->known,
                      .settled = sequence->settled(),
                      .undecided_drafts = sequence->undecided_drafts(),
                      .published = sequence->prefix.chunks * impl_->geometry.chunk_tokens,
                      .write_from = sequence->write_from,
                      .approximate = sequence->approximate};
}

std::vector<PrefixEvent> Ledger::TakeEvents() { return std::exchange(impl_->events, {}); }

PrefixFigures Ledger::prefix_figures() const {
  PrefixFigures figures = impl_->figures;
  figures.indexed_chunks = impl_->index.num_chunks();
  figures.unused_chunks = impl_->index.num_unused_chunks();
  figures.held_checkpoints = impl_->index.num_checkpoints();
  return figures;
}

PoolUse Ledger::Use(int pool) const { return impl_->UseOf(pool); }
int32_t Ledger::num_sequences() const { return impl_->sequences.num_live(); }
PlanNumber Ledger::last_plan() const { return PlanNumber(impl_->number); }
const Geometry& Ledger::geometry() const { return impl_->geometry; }

}  // namespace terrace
