// The capacity plan divides a byte budget over the pools, exactly:
//
//   memory = tables + sum over pools of blocks * block_bytes + unused
//
// Window pools get what `max_sequences` sequences can hold in the worst case (decode steps with D
// drafts, and the old and the new window while a prefill step runs), so they can never run short.
// The rest is divided into chunks: one block of every full pool each.

#ifndef TERRACE_CAPACITY_H_
#define TERRACE_CAPACITY_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "terrace/geometry.h"
#include "terrace/model.h"
#include "terrace/page_layout.h"

namespace terrace {

struct CapacityRequest {
  ModelSpec model;
  int64_t memory_bytes = 0;
  Limits limits = {};
  // Sequences whose last step may be a prefill chunk, each charged the old and the new window (or,
  // with store_whole_chunk, the chunk): they keep both until they are appended to again. 0 =
  // max_sequences.
  int32_t prefill_sequences = 0;
};

struct PoolBudget {
  std::string name;
  PoolKind kind = PoolKind::kFull;
  int32_t blocks = 0;
  PagePlace place;  // with all layers of the model
};

struct CapacityPlan {
  ModelSpec model;
  Limits limits;
  int32_t prefill_sequences = 0;  // as charged: never 0
  Geometry geometry{};
  int64_t memory_bytes = 0;
  int64_t table_bytes = 0;   // block tables and step buffers of a store
  int64_t unused_bytes = 0;  // less than one more chunk, if there are full pools
  std::vector<PoolBudget> pools;

  // chunks * chunk_tokens; without full pools max_sequences * max_context_tokens.
  int64_t max_tokens = 0;
  int64_t fixed_bytes_per_sequence = 0;         // window pools, reserved
  int64_t useful_fixed_bytes_per_sequence = 0;  // the window's rows alone
  double marginal_bytes_per_token = 0;          // full pools, reserved
  double useful_bytes_per_token = 0;            // full pools, rows alone
};

// Errors: InvalidArgument for a bad model or limit; OutOfRange where the memory cannot hold the
// fixed part and one chunk, saying how much it would take.
absl::StatusOr<CapacityPlan> PlanCapacity(const CapacityRequest& request);

// How many sequences of `context_tokens` tokens each fit: the smaller of max_sequences and what the
// full pools hold (a sequence takes whole chunks).
int64_t SequencesThatFit(const CapacityPlan& plan, int64_t context_tokens);

// The contexts that tables and JSON answer for: 4K, 32K, 128K and 1M tokens.
inline constexpr std::array<int64_t, 4> kQuotedContexts = {4 << 10, 32 << 10, 128 << 10, 1 << 20};

// Bytes of a store's block tables and step buffers.
int64_t TableBytes(const Geometry& geometry);

// A table for people: a line a pool (blocks, bytes a block, useful, padding), then the sums and
// what they hold.
std::string ToTable(const CapacityPlan& plan);

}  // namespace terrace

#endif  // TERRACE_CAPACITY_H_
