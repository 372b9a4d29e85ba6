// PrefixModel is what must hold of a ledger that reuses prefixes, whatever it decides to keep and
// to evict. It stands on two things that need no knowledge of the ledger's inside:
//
//   Contents. Every row and entry has an id: the hash of the salt and of all tokens up to its own.
//   The model carries the ids as a store would carry the bytes, block by block, as plans write,
//   copy and share them, and looks at everything that the queries of a step see: each row must be
//   of the sequence's own tokens. A wrong hit, a stale window, a lost copy, a block handed out
//   while a plan may still read it, a refeed that is too short: all are ids that differ.
//
//   Events. What is cached is what a router knows (prefix_mirror.h); so what a prompt must find is
//   known to the token.
//
// Window rows also carry a depth: the number of layers whose key is exact. Layer 0's always is; the
// one of layer l is if all rows of its token's window are exact in layer l - 1. A refeed rebuilds
// the window from nothing, one layer deeper every 127 tokens. Without a window all layers of a
// token are exact once the compressor has seen the tokens that an entry overlaps.

#ifndef TERRACE_TESTS_MODEL_PREFIX_MODEL_H_
#define TERRACE_TESTS_MODEL_PREFIX_MODEL_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "terrace/ledger.h"
#include "tests/model/prefix_mirror.h"

namespace terrace::testing {

struct PrefixSequence {
  std::string salt;
  std::vector<KeyRange> key_ranges = {};  // their bytes outlive the model
  std::vector<int32_t> marks = {};
  std::vector<int32_t> tokens;   // known ids, then those of rows that were fed ahead of their ids
  std::vector<uint64_t> prefix;  // [k] of the salt and the first k tokens
  std::vector<ChunkDigest> digests;  // of whole known chunks
  std::vector<uint64_t> rows;        // [position] what its window row must hold
  std::vector<uint64_t> closers;     // [position] what an entry that it closes must hold
  std::vector<int32_t> depths;       // [position] exact layers of its window row
  int32_t length = 0;
  int32_t known = 0;
  bool ids_ahead = false;
  int32_t lost_rows = 0;  // that it had when it started over
  int32_t draft_begin = 0;
  int32_t published = 0;  // at the last Check
  int32_t write_from = 0;
  int32_t window_from = 0;  // rows before it do not exist: a refeed began there
  int32_t own_from = 0;     // it computed its window rows from here on, or who it is a fork of
  int32_t kept_from = 0;    // rows before it may be gone
  uint64_t taint = 0;       // above 0: approximate, and all that it computes is its own
  bool in_index = true;     // false after ClearPrefixes
  bool announced = false;   // a plan has named its blocks since they were attached
  bool restores = false;    // its next step begins with another state than its last row's
  bool has_state = false;   // a block of every state pool, since its first step
  uint64_t state = 0;       // what these must hold: each step makes another
  RefeedLimits refeed = {};
  // The last plan that computed some of what it has; the second counts copies of what it attached.
  uint64_t plan = 0;
  uint64_t copy_plan = 0;
  // Of the chunk with the checkpoint that its next step restores.
  std::optional<ChunkDigest> restored = std::nullopt;
  uint64_t family = 0;  // that it is a fork of, or that are forks of it
  int32_t prompt = 0;   // tokens
  int32_t reserve = 0;  // tokens that room is set aside for

  int32_t settled() const { return std::min(length, known); }
  int32_t undecided() const { return std::max(0, length - std::max(known, draft_begin)); }
};

// The id of `b` behind what `a` names.
inline uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9e3779b97f4a7c15)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 31)) * 0x94d049bb133111eb;
  return x ^ (x >> 29);
}

class PrefixModel {
 public:
  explicit PrefixModel(const LedgerOptions& options);

  // What `request` finds now, and what a sequence finds beyond what it has.
  PrefixMatch ExpectMatch(const SequenceRequest& request) const;
  PrefixMatch ExpectExtension(SequenceId id) const;

  // Whether `request` may find `match` now. Where room is set aside for others it may be less than
  // is cached, and only then.
  bool MayFind(const SequenceRequest& request, const PrefixMatch& match) const {
    const PrefixMatch all = ExpectMatch(request);
    return MayFind(all, match, all.matched / geometry_.chunk_tokens);
  }
  // Whether a step is within its limits, if there are blocks for it.
  bool IsGood(absl::Span<const StepRequest> batch) const {
    return CodeOfBatch(batch) == absl::StatusCode::kOk;
  }
  // Whether the answer is one that the ledger may give. Before the call that carries it out.
  void JudgeAllocate(const SequenceRequest& request, const absl::Status& status);
  void JudgeAppend(absl::Span<const StepRequest> batch, const absl::Status& status);
  void JudgeExtend(SequenceId id, const absl::Status& status);
  void JudgeFork(SequenceId id, const absl::Status& status);
  void JudgeCommit(SequenceId id, int64_t tokens, const absl::Status& status);
  void JudgeTruncate(SequenceId id, int32_t length, const absl::Status& status);
  void JudgeFree(SequenceId id, const absl::Status& status);
  void JudgeRetire(uint64_t plan, const absl::Status& status);
  // A step that was refused fits pool `pool` now that `retire` is retired, as the shortage said.
  void JudgeRetry(const Shortage& before, const absl::Status& status);
  void JudgeAbandon(uint64_t first, const absl::Status& status);
  void JudgeDistrust(absl::Span<const Distrusted> distrusted, const absl::Status& status);

  // Carry out what succeeded.
  void Allocate(const SequenceRequest& request, const Admission& admission);
  void Extend(SequenceId id, const PrefixMatch& match, const SequenceInfo& info);
  void Fork(SequenceId id, SequenceId child);
  // The ids of rows that a step feeds before they are known. Without them it invents some.
  void Guess(SequenceId id, absl::Span<const int32_t> tokens);
  void Append(absl::Span<const StepRequest> batch, const Plan& plan);
  void Commit(SequenceId id, absl::Span<const int32_t> tokens);
  void Truncate(SequenceId id, int32_t length);
  void Free(SequenceId id);
  void Retire(uint64_t plan) { retired_ = plan; }
  void ClearPrefixes();
  // Carry out a recovery that the ledger answered so, with the events of that call. Whatever the
  // plans or rows in question wrote is poisoned.
  void Abandon(uint64_t first, const Abandoned& abandoned, absl::Span<const PrefixEvent> events);
  void Distrust(absl::Span<const Distrusted> distrusted, const Abandoned& abandoned,
                absl::Span<const PrefixEvent> events);

  // After every call (for Free: before it is carried out): what the index did in it.
  void Hear(absl::Span<const PrefixEvent> events);
  // After every call: tables, pools, counts and figures.
  void Check(const Ledger& ledger);

  // The first fault found; empty if none.
  const std::string& fault() const { return mirror_.fault().empty() ? fault_ : mirror_.fault(); }
  const PrefixMirror& mirror() const { return mirror_; }
  const PrefixSequence* Find(SequenceId id) const;
  using Key = std::pair<int32_t, uint32_t>;  // sequence, generation
  const std::map<Key, PrefixSequence>& sequences() const { return sequences_; }
  uint64_t last_plan() const { return last_plan_; }
  uint64_t retired() const { return retired_; }
  // All forks of the sequence's family, to be distrusted together: a copy leaves no trace. None if
  // one was freed, or if prefixes were cleared since.
  std::vector<Distrusted> FamilyOf(SequenceId id, int32_t from) const;

 private:
  using Tables =
      std::vector<std::vector<std::vector<int32_t>>>;  // [pool][sequence][index], -1 if none
  struct Place {
    int pool;
    int32_t block;
    friend auto operator<=>(const Place&, const Place&) = default;
  };

  PrefixSequence* Edit(SequenceId id);
  PrefixSequence* OfSequence(int32_t sequence_index);
  bool idle() const { return options_.in_flight_plans == 0 || retired_ == last_plan_; }
  bool is_full(int pool) const { return geometry_.pools[pool].kind == PoolKind::kFull; }
  bool is_state(int pool) const { return geometry_.pools[pool].kind == PoolKind::kState; }
  absl::StatusCode CodeOfBatch(absl::Span<const StepRequest> batch) const;
  // Distinct blocks of a pool: of the batch's sequences after the step, of all before it, of all
  // after it, and of all before or after it.
  struct BlockNeed {
    int32_t of_batch;
    int32_t before;
    int32_t after;
    int32_t before_and_after;
    int32_t reserved_after;  // set aside for all sequences then
  };
  BlockNeed NeedOf(absl::Span<const StepRequest> batch, int pool) const;
  void JudgeShortage(absl::Span<const StepRequest> batch, const Shortage& shortage);

  // Reservations: prefix_model_reserve.cc
  // `chunks`: what taking hold of `all` attaches.
  bool MayFind(const PrefixMatch& all, const PrefixMatch& match, int32_t chunks) const;
  int32_t MostReserved(int pool, int32_t tokens, bool prefills) const;
  // Of a sequence with this table, of whose rows `decided` are no drafts: the others may go again.
  int32_t ReservedOf(const PrefixSequence& sequence, int pool, int32_t decided,
                     const std::vector<int32_t>& table) const;
  int32_t ReservedNow(int32_t sequence_index, const PrefixSequence& sequence, int pool) const {
    return ReservedOf(sequence, pool, sequence.draft_begin, held_[pool][sequence_index]);
  }
  int32_t NumReserved(int pool) const;
  bool HasReservations() const;
  // Blocks of a pool that no sequence holds and none has set aside, at the last Check.
  int32_t NumUnreserved(int pool) const;
  void JudgeReservation(const SequenceRequest& request, const Shortage& shortage);
  void CheckReservations();
  // Indices of the pool's table that a step writes to.
  std::vector<int32_t> WrittenIndices(const StepRequest& request, int pool) const;

  // What later plans computed is not matched.
  uint64_t last_matched() const {
    const bool all = options_.prefix.match == MatchPolicy::kAppended;
    return all ? UINT64_MAX : retired_;
  }
  // Where a content lies is written by the last plan.
  void Store(int pool, int32_t slot, uint64_t content) {
    contents_[pool][slot] = content;
    writers_[pool][slot] = last_plan_;
  }
  void AddAttachedPlans(PrefixSequence& sequence, int32_t begin, int32_t end, int32_t resumed);
  void Stamp(const PrefixEvent& event);
  void RaiseCopies(const PrefixFigures& figures);
  using Removed = std::set<PrefixMirror::DigestKey>;
  // Applies the events: chunks that go, and checkpoints.
  std::pair<Removed, Removed> Remove(absl::Span<const PrefixEvent> events);
  bool LosesPath(const PrefixSequence& sequence, const Removed& chunks) const;
  void CheckAffected(const std::vector<Key>& affected, const Abandoned& abandoned);
  void StartOver(Key key, const Admission& admission);
  int32_t RefeedFrom(int32_t matched, int64_t tokens) const;
  int32_t ExactRefeedFrom(int32_t matched) const;
  void SetTokens(PrefixSequence& sequence, int32_t begin, absl::Span<const int32_t> tokens);
  ChunkDigest NextChunk(const PrefixSequence& sequence) const;
  uint64_t IdAt(const PrefixSequence& sequence, int32_t position, int32_t depth) const;
  void Attach(PrefixSequence& sequence, int32_t begin, int32_t resumed, int32_t length,
              int32_t write_from);
  int32_t DepthOf(const PrefixSequence& sequence, int32_t position) const;

  void ApplyPatches(const Plan& plan);
  void ApplyCopies(const Plan& plan);
  void CheckSequenceStep(const StepRequest& request, const SequenceStep& part,
                         const PrefixSequence& sequence);
  void FeedTokens(PrefixSequence& sequence, int32_t count);
  void WriteRows(const SequenceStep& part, absl::Span<const CheckpointRecord> checkpoints,
                 PrefixSequence& sequence);
  void WriteEntries(const SequenceStep& part, PrefixSequence& sequence);
  void WriteState(const SequenceStep& part, PrefixSequence& sequence);
  void WriteCheckpoint(const CheckpointRecord& record, const PrefixSequence* sequence);
  void CheckRestores(const Plan& plan);
  void CheckVisible(const SequenceStep& part, const PrefixSequence& sequence);
  void CheckWindow(const PrefixSequence& sequence, int32_t sequence_index, int32_t first,
                   const Tables& tables);
  void CheckEntries(const PrefixSequence& sequence, int32_t sequence_index, int32_t tokens,
                    const Tables& tables);
  void Use(int pool, int32_t block) { last_use_[pool][block] = last_plan_; }
  int32_t SlotAt(int pool, int32_t sequence_index, int32_t entry, const Tables& tables) const;

  void ReadSnapshot(const Ledger& ledger);
  std::pair<bool, bool> Holds(const PrefixSequence& sequence, int pool, int32_t index) const;
  void CheckTables();
  void CheckPools(const Ledger& ledger);
  void CheckSequences(const Ledger& ledger);
  void CheckFigures(const PrefixFigures& figures);
  // Returns `condition`; keeps the first fault in words.
  template <typename... Words>
  bool Expect(bool condition, const Words&... words) {
    if (!condition && fault_.empty()) fault_ = absl::StrCat(words...);
    return condition;
  }

  const LedgerOptions options_;
  const Geometry& geometry_ = options_.geometry;
  std::map<Key, PrefixSequence> sequences_;
  std::set<Key> ever_;  // handles given so far
  std::map<int32_t, PrefixSequence>
      freed_;  // since the last plan: their sequences' state is still theirs
  PrefixMirror mirror_;
  Tables device_;                                // kept by plans alone
  Tables held_;                                  // of the last snapshot
  std::vector<std::vector<uint64_t>> contents_;  // [pool][slot]
  std::vector<std::vector<uint64_t>> writers_;   // [pool][slot] the plan that wrote it
  std::vector<std::vector<uint64_t>> last_use_;  // [pool][block] last plan that may name it
  std::vector<PoolUse> use_;                     // at the last Check
  std::vector<int32_t> overdrawn_;  // [pool] blocks that are set aside and not there, then
  bool shared_window_ = false;      // forks shared window blocks, then
  bool starts_over_ = false;        // the call is an Abandon or a Distrust
  std::map<Place, std::pair<int32_t, int32_t>> taken_;  // by the last plan: sequence and index
  std::map<Place, int32_t> written_;                    // by the last plan: the sequence
  std::set<Key> actors_;  // of the last call: who may have stored something
  bool in_step_ = false;  // it was an Append
  std::map<PrefixMirror::DigestKey, std::pair<ChunkDigest, uint64_t>> copies_;  // before that step
  int64_t removed_chunks_ = 0;          // since the last Check
  PrefixFigures figures_ = {};          // at the last Check
  std::set<uint64_t> broken_families_;  // one of which was freed
  uint32_t generation_ = 1;
  bool snapshot_due_ = false;
  uint64_t last_plan_ = 0;
  uint64_t retired_ = 0;
  uint64_t fresh_ = 0;  // numbers what nobody else computes
  std::string fault_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_MODEL_PREFIX_MODEL_H_
