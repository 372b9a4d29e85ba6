// What a ledger is told about prefix reuse, and what it answers: options, matches, events, figures.

#ifndef TERRACE_PREFIX_H_
#define TERRACE_PREFIX_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "terrace/chunk_digest.h"
#include "terrace/pool_kinds.h"

namespace terrace {

// Who is evicted first.
enum class Priority : uint8_t { kLow = 0, kNormal = 1, kHigh = 2 };
inline constexpr int kNumPriorities = 3;

// Where a sequence leaves checkpoints. Every boundary is a multiple of the chunk's tokens.
struct CheckpointPolicy {
  enum class Kind : int32_t { kNone, kEndOfPromptAndOutput, kEveryTokens };
  Kind kind = Kind::kEndOfPromptAndOutput;
  int32_t tokens = 0;  // kEveryTokens: a multiple of the chunk's

  static CheckpointPolicy None() { return {Kind::kNone, 0}; }
  // A live sequence keeps one that rolls along with its last chunk boundary, and leaves it when it
  // is freed. A prompt of n tokens leaves one at floor((n - 1) / 256) * 256, and a sequence whose
  // match ended where no checkpoint was leaves one there.
  static CheckpointPolicy EndOfPromptAndOutput() { return {Kind::kEndOfPromptAndOutput, 0}; }
  static CheckpointPolicy EveryTokens(int32_t tokens) { return {Kind::kEveryTokens, tokens}; }

  friend bool operator==(const CheckpointPolicy&, const CheckpointPolicy&) = default;
};

// Which of what was published a prompt may match.
enum class MatchPolicy : int32_t {
  // As soon as the step that computes it is appended: stream order keeps reads behind writes. A step
  // that is lost must be told (Ledger::Abandon).
  kAppended,
  // Only what plans computed that Retire named. With in_flight_plans 0 Retire is legal then, and
  // moves nothing but matching on.
  kRetired,
};

struct PrefixOptions {
  bool enabled = true;  // false: nothing is matched and nothing published
  MatchPolicy match = MatchPolicy::kAppended;
  CheckpointPolicy checkpoints = {};
  bool record_events = false;
  // For tests: what chunks are hashed with.
  ChunkHash hash = &NextDigest;
};

// How a sequence may rebuild its window where a match ends and no checkpoint is.
struct RefeedLimits {
  static constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max();
  // Most tokens to feed again for a match; beyond, the match falls back to the last checkpoint.
  int32_t max_tokens = kUnlimited;
  // 0: exact refeed. Above: feed at most this many tokens again where exact refeed would take more.
  // What such a sequence computes is approximate: it is never published and leaves no checkpoint.
  int32_t approximate_tokens = 0;
};

// What a prompt finds. Token counts; matched = resumed + skipped + refed.
struct PrefixMatch {
  int32_t matched = 0;  // tokens whose chunks are shared, beyond the rows that were there
  int32_t resumed = 0;  // of them, before a checkpoint: never fed again
  int32_t skipped = 0;  // of them, before a refeed without checkpoint: never fed again
  int32_t refed = 0;    // of them, to be fed again for their window rows
  bool approximate = false;
  int32_t saved() const { return matched - refed; }

  friend bool operator==(const PrefixMatch&, const PrefixMatch&) = default;
};

// What happened to the index, for a router that follows the cache. In order.
struct PrefixEvent {
  enum class Kind : int32_t {
    kChunkStored,
    kChunkRemoved,
    kCheckpointStored,  // behind the chunk `digest`
    kCheckpointRemoved,
    kCleared,  // everything was removed; no other event says so
  };
  Kind kind = Kind::kCleared;
  ChunkDigest digest = {};  // of the chunk
  ChunkDigest parent = {};  // of the chunk before it, or of the salt (RootDigest)
  int32_t depth = 0;        // chunks from the root, 1 for a first one

  friend bool operator==(const PrefixEvent&, const PrefixEvent&) = default;
};

// Sums since the ledger was made. Plain counts; the lines that add up say so.
//
// A request counts when its first step is made: one that waits for room, however often it is
// allocated and freed, counts once. One that returns after a preemption (SequenceRequest::returning)
// finds what it left itself, and is counted apart.
struct PrefixFigures {
  int64_t lookups = 0;         // new requests with at least one whole chunk that could match
  int64_t hits = 0;            // of them, those that matched
  int64_t prompt_tokens = 0;   // of all new requests
  int64_t matched_tokens = 0;  // = resumed + skipped + refed
  int64_t resumed_tokens = 0;
  int64_t skipped_tokens = 0;
  int64_t refed_tokens = 0;
  int64_t saved_tokens() const { return matched_tokens - refed_tokens; }

  int64_t returns = 0;  // requests that came back after a preemption
  int64_t return_hits = 0;
  int64_t return_prompt_tokens = 0;
  int64_t return_matched_tokens = 0;
  int64_t return_refed_tokens = 0;

  int64_t stored_chunks = 0;     // = indexed_chunks + evicted + expired + cleared + lost
  int64_t duplicate_chunks = 0;  // settled when an equal one was stored already
  int64_t evicted_chunks = 0;    // under pressure
  int64_t expired_chunks = 0;
  int64_t cleared_chunks = 0;
  int64_t lost_chunks = 0;     // by Abandon or Distrust
  int64_t indexed_chunks = 0;  // now
  int64_t unused_chunks = 0;   // now, of them those that may be evicted

  int64_t stored_checkpoints = 0;   // = held_checkpoints + all that follow
  int64_t evicted_checkpoints = 0;  // under pressure of the window or the overlap pool
  int64_t rolled_checkpoints = 0;   // dropped as their sequence moved on
  int64_t dropped_checkpoints = 0;  // with their chunk
  int64_t cleared_checkpoints = 0;
  int64_t lost_checkpoints = 0;        // by Abandon or Distrust
  int64_t held_checkpoints = 0;        // now
  int64_t missed_checkpoints = 0;      // wanted, but there was no room for their blocks
  int64_t peak_checkpoint_blocks = 0;  // most window blocks that checkpoints alone kept

  int64_t evicted_blocks[kMaxPools] = {};  // under pressure of this pool
  int64_t copied_blocks[kMaxPools] = {};   // of forks, on their first write
  int64_t forks = 0;

  friend bool operator==(const PrefixFigures&, const PrefixFigures&) = default;
};

// A table for people, one JSON object, and Prometheus' text format (every name begins
// terrace_prefix_; counters end in _total; figures of pools have the label `pool`, a number). All
// hold the same figures, saved_tokens among them, under the names above.
std::string ToTable(const PrefixFigures& figures);
std::string ToJson(const PrefixFigures& figures);
std::string ToPrometheus(const PrefixFigures& figures);

}  // namespace terrace

#endif  // TERRACE_PREFIX_H_
