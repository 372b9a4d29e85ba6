// The capacity plan divides a byte budget over the pools, exactly:
//
//   memory = tables + sum over pools of blocks * block_bytes + unused
//
// First come the window, overlap and state pools. They get what `max_sequences` sequences can hold
// in the worst case, so a live sequence never runs short of them: its window (decode steps with D
// drafts, and the old and the new one while a prefill step runs), a block of the compressor's
// state, and with prefix reuse its rolling checkpoint and two more inside a prefill step. Then room
// for checkpoints of prefixes that no live sequence uses. The rest is divided into chunks: one
// block of every full pool each.
//
// Only the tables grow with Limits::max_step_tokens (some 30 bytes a token); the window pool too
// with store_whole_chunk, or while a step is shorter than two windows.

#ifndef TERRACE_CAPACITY_H_
#define TERRACE_CAPACITY_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "terrace/geometry.h"
#include "terrace/model.h"
#include "terrace/page_view.h"

namespace terrace {

struct CapacityRequest {
  ModelSpec model;
  int64_t memory_bytes = 0;  // of one store with all layers; a worker of some takes WorkerBytes
  Limits limits = {};
  // Sequences whose last step may be a prefill piece. Each is charged the old and the new window
  // (or, with store_whole_chunk, the piece): it keeps both until it is appended to again.
  // 0 = max_sequences.
  int32_t prefill_sequences = 0;
  // Charge for checkpoints. Ignored where a model can have none: without a full pool, without a
  // window pool, or with window blocks that do not divide a chunk.
  bool prefix_reuse = true;
  // Of prefixes that no live sequence uses, to make room for. -1: an eighth of the memory that is
  // left for them and the chunks, and at least one a sequence.
  int32_t checkpoints = -1;
  // LedgerOptions::in_flight_plans. Every sequence is charged the window blocks that this many
  // decode steps can release: they drain until their plans are retired. What a freed sequence
  // leaves draining is not charged, so a new one may have to wait for Retire.
  int32_t in_flight_plans = 0;
};

struct PoolBudget {
  std::string name;
  PoolKind kind = PoolKind::kFull;
  int32_t blocks = 0;
  PoolPages place;  // with all layers of the model
};

struct CapacityPlan {
  ModelSpec model;
  Limits limits;
  int32_t prefill_sequences = 0;  // as charged: never 0
  bool prefix_reuse = false;      // as charged
  int32_t in_flight_plans = 0;
  Geometry geometry{};
  int64_t memory_bytes = 0;
  int64_t table_bytes = 0;   // block tables and step buffers of a store
  int64_t unused_bytes = 0;  // less than one more chunk, if there are full pools
  std::vector<PoolBudget> pools;

  // chunks * chunk_tokens; without full pools max_sequences * max_context_tokens.
  int64_t max_tokens = 0;
  int64_t checkpoints = 0;  // of prefixes that no live sequence uses
  // One of them: its window blocks and its block of the overlap pool. 0 without prefix reuse.
  int64_t checkpoint_bytes = 0;         // reserved
  int64_t useful_checkpoint_bytes = 0;  // window_tokens - 1 rows and the overlap rows alone
  // Window, overlap and state pools, reserved, without the checkpoints above.
  int64_t fixed_bytes_per_sequence = 0;
  int64_t useful_fixed_bytes_per_sequence = 0;  // the window's rows alone
  int64_t state_bytes_per_sequence = 0;         // of the fixed bytes: state pools, reserved
  int64_t useful_state_bytes_per_sequence = 0;  // the pages alone
  double marginal_bytes_per_token = 0;          // full pools, reserved
  double useful_bytes_per_token = 0;            // full pools, rows alone
};

// Errors: InvalidArgument for a bad model or limit; OutOfRange where the memory cannot hold the
// fixed part and one chunk, saying how much it would take.
absl::StatusOr<CapacityPlan> PlanCapacity(const CapacityRequest& request);

// How many sequences of `context_tokens` tokens each fit: the smaller of max_sequences and what the
// full pools hold (a sequence takes whole chunks).
int64_t SequencesThatFit(const CapacityPlan& plan, int64_t context_tokens);

// What ends the number of sequences of one length.
enum class FitBound : int32_t { kMaxContext = 0, kMaxSequences = 1, kMemory = 2 };

// "max_context_tokens", "max_sequences" or "memory".
std::string_view FitBoundName(FitBound bound);

// Settings of a CapacityRequest that take memory from sequences, and where they take least of it.
enum class CapacitySetting : int32_t {
  kMaxSequences = 0,      // another number of sequences, and nothing else
  kPrefillSequences = 1,  // 1
  kCheckpoints = 2,       // 0
  kPrefixReuse = 3,       // false
  kInFlightPlans = 4,     // 0
  kMaxDrafts = 5,         // 0
  kWholeChunk = 6,        // false
  kMaxContext = 7,        // the context that is asked about
  kAll = 8,               // all of them at once: the most sequences that there can be
};

// The field's name, such as "prefill_sequences"; "all" of kAll.
std::string_view CapacitySettingName(CapacitySetting setting);

// How many sequences fit if max_sequences is that number and `setting` takes least.
struct FitChoice {
  CapacitySetting setting = CapacitySetting::kMaxSequences;
  int32_t sequences = 0;
};

// How many sequences of one length fit, and what would make them more.
struct ContextFit {
  int64_t context_tokens = 0;
  int64_t sequences = 0;  // with the request as it is
  FitBound bound = FitBound::kMemory;
  // Of settings that can still take less, in order; kMaxSequences is the first, kAll the last.
  std::vector<FitChoice> choices = {};
};

// Errors: InvalidArgument as PlanCapacity. Memory that is too small for the request as it is is
// none: 0 sequences fit then, and the choices say with what more do.
// Cost: some hundred times PlanCapacity.
absl::StatusOr<ContextFit> FitContext(const CapacityRequest& request, int64_t context_tokens);

// The largest max_sequences with which so many sequences of `context_tokens` tokens fit, all else
// being as in `request`; 0 where not one does. No max_sequences holds more of them.
// prefill_sequences counts as at most that number.   Errors: as FitContext.
absl::StatusOr<int32_t> MostSequences(const CapacityRequest& request, int64_t context_tokens);

// `request` with what `choice` says: PlanCapacity then holds that many sequences of
// `context_tokens` tokens.
CapacityRequest WithChoice(const CapacityRequest& request, const FitChoice& choice,
                           int64_t context_tokens);

// Bytes of the store of a worker that holds `layers` of the model: its layers' part of every block,
// and all tables. memory_bytes is what one store of all layers takes; workers that share a model by
// layers need no more than this each, of one and the same plan.
// Errors: InvalidArgument for layers that the model has not, or none.
absl::StatusOr<int64_t> WorkerBytes(const CapacityPlan& plan, LayerRange layers);

// The contexts that tables and JSON answer for: 4K, 32K, 128K and 1M tokens.
inline constexpr std::array<int64_t, 4> kQuotedContexts = {4 << 10, 32 << 10, 128 << 10, 1 << 20};

// Bytes of a store's block tables and step buffers.
int64_t TableBytes(const Geometry& geometry);

// A table for people: a line a pool (blocks, bytes a block, useful, padding), then the sums and
// what they hold. Columns that are wider than `columns` in all follow in a second table; 0 = any
// width. `with_fits`: how many sequences fit of kQuotedContexts.
std::string ToTable(const CapacityPlan& plan, int columns = 0, bool with_fits = true);

}  // namespace terrace

#endif  // TERRACE_CAPACITY_H_
