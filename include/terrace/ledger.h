// Ledger is the bookkeeping of a cache: which sequence owns which blocks of which pool. It decides;
// what it decided leaves it as a Plan. It includes no CUDA, knows no address, never waits for a
// device and is deterministic, but for an epoch that is not given.
//
//   AllocateSequence -> { Append -> (run the step) -> Commit [-> Truncate] }* -> FreeSequence
//
// Tokens. `length` counts a sequence's rows: tokens fed by Append. `known` counts its token ids:
// the prompt's, then those of Commit, in order, possibly steps later. Settled are tokens that have
// a row and a final id: min(length, known). The last sampled token is known and has no row until it
// is fed. So ids run at most one ahead of the rows, but for a prompt's, unless the sequence was
// allocated with `ids_ahead`. A sequence of max_context_tokens rows is at its end: known may be one
// more, and no step takes it.
//
// Drafts. The last `drafts` rows of a step may be taken back. Before the sequence is appended to
// again each must be settled by Commit or taken back by Truncate. With k of d drafts accepted:
// Truncate(length - (d - k)), then Commit the accepted ids and the one sampled after them.
//
// Thread-safe: no; one call at a time, on any thread. Concurrent Probe calls with no other call are
// safe; last_plan, epoch and generation are beside any call. A ledger shares nothing with a store.

#ifndef TERRACE_LEDGER_H_
#define TERRACE_LEDGER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "terrace/chunk_digest.h"
#include "terrace/geometry.h"
#include "terrace/ids.h"
#include "terrace/plan.h"
#include "terrace/prefix.h"

namespace terrace {

struct LedgerOptions {
  Geometry geometry;
  // Tells this ledger's plans from those of all others. None: one that differs by itself. With one
  // that is given, the bytes of all plans follow from the calls alone.
  std::optional<uint64_t> epoch = std::nullopt;
  // Most plans that may be unretired. 0: all stores run stream-ordered on one stream, Retire is not
  // called (but for MatchPolicy::kRetired), and a block is free for reuse as soon as nobody owns it.
  // Above 0: a block that an
  // unretired plan may name drains until Retire, whatever made it unused.
  int32_t in_flight_plans = 0;
  PrefixOptions prefix = {};
  // For tests: called before blocks of a pool are taken; true acts as if that pool were short.
  std::function<bool(PoolIndex pool)> inject_shortage = {};
};

struct SequenceRequest {
  absl::Span<const int32_t> tokens;  // the prompt's ids; may be empty
  // Prefixes are shared only under equal bytes: tenant, adapter, model version.
  absl::string_view salt = {};
  // What tokens mean beside their ids. A chunk is shared where salt, ids and the ranges that touch it
  // are equal: begin, end and key, compared byte by byte. So a match ends before another picture. A
  // range that goes on as the sequence does, as an adapter's, has no end.
  absl::Span<const KeyRange> key_ranges = {};
  // Positions where a checkpoint is to stay whatever the policy, but under CheckpointPolicy::None: the
  // ends of a system prompt, a tool's text, a document that others will share. Each counts rounded
  // down to whole chunks. The first who feeds it leaves it, so that the second saves all before it.
  absl::Span<const int32_t> marks = {};
  // ChunkDigests(salt, tokens, chunk_tokens, key_ranges) if the caller kept them; empty: computed
  // here. Only to save time: wrong ones find nothing.
  absl::Span<const ChunkDigest> digests = {};
  RefeedLimits refeed = {};
  // Of the chunks and checkpoints that the sequence uses, when nobody uses them any more.
  Priority priority = Priority::kNormal;
  // By the ledger's clock (SetTime), after the last use; 0 = no limit. One that ends beyond the
  // clock's last number never expires.
  int64_t time_to_live_ms = 0;
  // It was served before and preempted: what it finds is mostly its own. PrefixFigures count it
  // apart, so that the hit rate is that of new requests.
  bool returning = false;
  // Commit may give ids of tokens that are fed later, as a user's next turn. Otherwise ids that are
  // more than one ahead of the rows are taken for a mistake.
  bool ids_ahead = false;
};

// A new sequence, and where to go on: feed tokens from position `length` on.
struct Admission {
  SequenceId id;
  int32_t length = 0;  // = match.resumed + match.skipped
  PrefixMatch match = {};
};

struct StepRequest {
  SequenceId id;
  int32_t tokens = 1;  // rows to add, drafts included
  int32_t drafts = 0;  // of them, the last ones
};

// The sequences that an Abandon or a Distrust sent back, by index, and where each goes on: as if it
// had been allocated now with the ids that it knows.
struct Abandoned {
  std::vector<Admission> sequences;
};

// Rows of a sequence that are wrong.
struct Distrusted {
  SequenceId id;
  int32_t from = 0;  // all rows from here on
};

struct SequenceInfo {
  int32_t index = 0;
  int32_t length = 0;   // rows
  int32_t known = 0;    // token ids
  int32_t settled = 0;  // min(length, known)
  int32_t undecided_drafts = 0;
  int32_t published = 0;   // tokens whose chunks are in the prefix index
  int32_t write_from = 0;  // entries before it are shared and not written
  bool approximate = false;

  friend bool operator==(const SequenceInfo&, const SequenceInfo&) = default;
};

// A step or sequence that did not fit. Attached to the status; nothing has changed.
struct Shortage {
  PoolIndex pool;
  int32_t missing_blocks = 0;
  bool retry_later = false;  // false: larger than the pool, waiting never helps
};
// The shortage behind `status`, if that is why it failed.
std::optional<Shortage> ShortageOf(const absl::Status& status);

struct PoolUse {
  int32_t capacity = 0;  // = free + live + cached + draining
  int32_t free = 0;
  int32_t live = 0;
  int32_t cached = 0;  // content that may be reused; evicted where blocks are short
  int32_t draining = 0;

  friend bool operator==(const PoolUse&, const PoolUse&) = default;
};

class Ledger {
 public:
  // Errors: InvalidArgument for a geometry that MakeGeometry cannot have made or a negative
  // in_flight_plans; ResourceExhausted without the memory for it.
  // Cost: O(blocks); with prefix reuse 1.2 KB of host memory a chunk, of which up to 0.3 GB is
  // touched (prefix_index.h).
  static absl::StatusOr<std::unique_ptr<Ledger>> Create(const LedgerOptions& options);
  ~Ledger();

  // Takes a sequence, and references on all that it reuses; no new block yet.
  // Errors: ResourceExhausted when all sequence indices are taken; InvalidArgument for a prompt
  // beyond max_context_tokens, negative limits or digests of another number than the prompt has
  // whole chunks; OutOfRange with a Shortage for a prompt that no pool can ever hold.
  // Cost: O(chunks matched), and a copy of the ids that did not match.
  absl::StatusOr<Admission> AllocateSequence(const SequenceRequest& request);

  // What AllocateSequence would find now. Changes nothing, not even the order of eviction.
  // Thread-safe: concurrent Probe calls with no other call are safe.
  // Errors: InvalidArgument, as there.
  absl::StatusOr<PrefixMatch> Probe(const SequenceRequest& request) const;

  // Attaches what others published since, beyond what the sequence has: call it before a step of a
  // prompt that is still being fed. The answer counts from the rows it had; go on at Info().length.
  // RefeedLimits do not apply: extending a match never adds tokens to feed.
  // Errors: NotFound; FailedPrecondition for undecided drafts.
  absl::StatusOr<PrefixMatch> ExtendMatch(SequenceId id);

  // A second sequence with the same tokens and rows. Whole blocks are shared; one that is partly
  // filled is copied when either writes to it first, and the plan says so.
  // Errors: NotFound; ResourceExhausted when all sequence indices are taken; FailedPrecondition for
  // undecided drafts, or rows whose ids are not committed.
  // Cost: O(blocks).
  absl::StatusOr<SequenceId> Fork(SequenceId id);

  // Feeds a batch of any mix of prefill pieces, decodes and decodes with drafts. Releases what the
  // windows left, takes the blocks that the new rows need, and says so in the plan. All or nothing
  // over all sequences and pools. The batch's order is the order of the plan's sequences and rows.
  // An empty batch is a step of no sequence: its plan counts, runs and retires like any other. An
  // idle rank begins it and replays its graph, and graphs are warmed up with it.
  // Errors: ResourceExhausted (wait and retry) or OutOfRange (never fits), both with a Shortage;
  // NotFound for a stale or unknown id; InvalidArgument for a duplicate, counts beyond the limits;
  // FailedPrecondition for undecided drafts or too many unretired plans.
  // Cost: O(batch + blocks), whatever the number of tokens.
  absl::StatusOr<Plan> Append(absl::Span<const StepRequest> batch);

  // Gives the next token ids, in order. The id sampled after the last row of the longest context is
  // known too: max_context_tokens rows, and one id more, which is never fed. So what follows a
  // step, its accepted drafts and one sampled id, can always be committed.
  // Errors: NotFound; InvalidArgument beyond max_context_tokens + 1 ids; FailedPrecondition for ids
  // that make `known` more than `length` + 1, without SequenceRequest::ids_ahead. Of a sequence that
  // Abandon or Distrust sent back, the rows that it had count: ids of steps that ran may still come.
  absl::Status Commit(SequenceId id, absl::Span<const int32_t> tokens);

  // Takes back rows from `length` on: drafts of the last step that are not settled.
  // Errors: NotFound; InvalidArgument if `length` is beyond the rows, or would take back a settled
  // or an undeclared row.
  absl::Status Truncate(SequenceId id, int32_t length);

  // Errors: NotFound for a handle that is stale (freed before) or was never given.
  absl::Status FreeSequence(SequenceId id);

  // Every plan up to `plan` has run to its end on every store, or was stopped and abandoned: no store
  // touches its blocks any more. Under MatchPolicy::kRetired what these plans computed may be
  // matched from now on; with in_flight_plans 0 that is all: no block waits for it, and no Append.
  // Errors: InvalidArgument for a plan not made yet or retired before; FailedPrecondition if
  // in_flight_plans is 0 and matching does not wait for it.
  absl::Status Retire(PlanNumber plan);

  // The plans `first` to last_plan() count as not run, on any store, retired or not. For a store that
  // came back with nothing, `first` is 1. What they were to compute is forgotten: chunks and all
  // below them, checkpoints, and all that the next plan was to capture. Affected is each live
  // sequence that one of them fed, or that has something that goes. It gives back its drafts and all
  // its blocks, and is admitted again under its handle: with the salt, priority, time to live,
  // limits of refeed and ids that it had, its length and match are what AllocateSequence of these
  // ids would find. One that publishes nothing goes on at 0. Others keep every row.
  //
  // The caller promises that no store begins a plan made before this call. Work that is enqueued
  // may still run. Every store begins a Snapshot() next, also one that ran everything: the plans of
  // before are of another generation. It retires nothing, and is never short of blocks.
  //
  // The price: a decode step that is lost sends each sequence of its batch back to its rolling
  // checkpoint, or to exact refeed if the step ended a chunk.
  //
  // Errors: InvalidArgument for `first` outside 1..last_plan().
  // Cost: O(index + blocks and ids of the affected + sequences).
  absl::StatusOr<Abandoned> Abandon(PlanNumber first);

  // The same for rows of single sequences that are wrong, as where an output was NaN. Forgotten are
  // the chunks of their paths that end beyond `from`, all below them, and captures of theirs that
  // the next plan was to make. Affected are the named and all that have something that goes.
  // Generation and plans go on, and no store begins a snapshot.
  //
  // A copy leaves no trace: forks made beyond `from` are to be named too, those also of whoever
  // computed what a named one attached, and after ClearPrefixes all that attached what goes. What a fork published that is freed by now goes only where it is below
  // a chunk of the named; ClearPrefixes forgets the rest.
  // Errors: NotFound; InvalidArgument for `from` outside 0..length. Nothing has changed then.
  // Cost: as Abandon.
  absl::StatusOr<Abandoned> Distrust(absl::Span<const Distrusted> sequences);

  // Tells the time, in ms from any start; it never goes back. Drops what outlived its time to live.
  // Errors: InvalidArgument for an earlier time.   Cost: O(log n) a chunk dropped.
  absl::Status SetTime(int64_t now_ms);

  // Forgets every published prefix and checkpoint: the weights changed. Live sequences keep their
  // blocks and publish nothing more.
  void ClearPrefixes();

  // Events since the last call, in order; none unless PrefixOptions::record_events.
  std::vector<PrefixEvent> TakeEvents();
  PrefixFigures prefix_figures() const;

  // All block tables as one plan, for a store that missed a plan, and for every store after Abandon.
  // Does not count as a step.
  absl::StatusOr<Plan> Snapshot() const;

  absl::StatusOr<SequenceInfo> Info(SequenceId id) const;
  // Errors: InvalidArgument for a pool that the geometry has not.
  absl::StatusOr<PoolUse> Use(PoolIndex pool) const;
  int32_t num_sequences() const;
  PlanNumber last_plan() const;
  uint64_t epoch() const;       // of all its plans
  uint32_t generation() const;  // of the next plan: 1, and one more for each Abandon
  const Geometry& geometry() const;

  // Walks everything and CHECKs the numbered invariants of every part.
  // Cost: O(blocks + sequences).
  void CheckInvariants() const;

 private:
  class Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace terrace

#endif  // TERRACE_LEDGER_H_
