#include "terrace/capacity.h"

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/model/geometry_builder.h"
#include "src/model/page_layout.h"
#include "terrace/plan.h"
#include "terrace/units.h"

namespace terrace {
namespace {

using internal::MakeGeometry;
using internal::PlacePages;

// Sums of a few of these stay within int64.
constexpr double kMostBytes = 1LL << 60;

// What the parts of a plan take, in the order in which they are served.
struct Parts {
  int64_t tables = 0;
  int64_t sequences = 0;    // window, overlap and state pools
  int64_t checkpoints = 0;  // the fewest
  int64_t chunk = 0;
};

absl::Status TooSmall(int64_t memory, const Parts& parts) {
  const int64_t needed = parts.tables + parts.sequences + parts.checkpoints + parts.chunk;
  return absl::OutOfRangeError(
      absl::StrCat(memory, " bytes (", FormatBytes(memory), ") are too few: tables take ",
                   FormatBytes(parts.tables), ", windows and state of all sequences ",
                   FormatBytes(parts.sequences), ", checkpoints ", FormatBytes(parts.checkpoints),
                   ", one chunk ", FormatBytes(parts.chunk), "; give at least ", needed, " bytes (",
                   FormatBytes(needed), ") or allow fewer sequences"));
}

// Blocks of one pool that do not depend on the memory.
struct FixedBlocks {
  int64_t sequence = 0;    // for each of max_sequences
  int64_t prefill = 0;     // more, for each that may prefill
  int64_t checkpoint = 0;  // for each checkpoint of a prefix that no live sequence uses
};

FixedBlocks FixedBlocksOf(const Geometry& geometry, int pool, const CapacityRequest& request,
                          bool prefix_reuse) {
  const int64_t checkpoint_blocks =
      pool == geometry.window_pool ? CheckpointWindowBlocks(geometry) : 1;
  FixedBlocks blocks;
  if (geometry.pools[pool].kind == PoolKind::kFull) return blocks;
  if (geometry.pools[pool].kind == PoolKind::kState) return {.sequence = 1};
  if (prefix_reuse) blocks = {checkpoint_blocks, 2 * checkpoint_blocks, checkpoint_blocks};
  if (pool == geometry.window_pool) {
    const WindowBlocks worst =
        WorstCaseWindowBlocks(geometry.pools[pool], geometry.window_tokens, request.limits);
    blocks.sequence +=
        worst.steady +
        WindowBlocksOfDecodeSteps(geometry.pools[pool], request.limits, request.in_flight_plans);
    blocks.prefill += worst.prefill_extra;
  }
  return blocks;
}

// Whether a chunk's end can have a checkpoint.
bool HasCheckpoints(const Geometry& geometry) {
  const bool has_full =
      std::any_of(geometry.pools, geometry.pools + geometry.num_pools,
                  [](const PoolGeometry& pool) { return pool.kind == PoolKind::kFull; });
  return has_full && geometry.window_pool >= 0 &&
         geometry.chunk_tokens % geometry.pools[geometry.window_pool].tokens_per_block == 0;
}

absl::Status CheckCounts(const CapacityRequest& request) {
  const auto invalid = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(parts...));
  };
  if (request.memory_bytes < 1) {
    return invalid("memory_bytes is ", request.memory_bytes, ", not positive");
  }
  const int32_t sequences = request.limits.max_sequences;
  if (request.prefill_sequences < 0 || request.prefill_sequences > sequences) {
    return invalid("prefill_sequences is ", request.prefill_sequences, ", not in 0..", sequences,
                   " (max_sequences)");
  }
  if (request.checkpoints < -1) {
    return invalid("checkpoints is ", request.checkpoints, ", not -1 or more");
  }
  if (request.in_flight_plans < 0) {
    return invalid("in_flight_plans is ", request.in_flight_plans, ", not 0 or more");
  }
  return absl::OkStatus();
}

}  // namespace

int64_t TableBytes(const Geometry& geometry) {
  // Per token row: what queries read of it, its sequence step, its position and its window slot.
  // Per entry row: its slot and the position it is rotated at.
  constexpr int64_t kTokenRowBytes = 28;
  constexpr int64_t kEntryRowBytes = 8;
  constexpr int64_t kAlign = 256;  // where a pool may start
  int64_t bytes = geometry.max_step_tokens * kTokenRowBytes + MaxStepPlanBytes(geometry);
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolGeometry& pool = geometry.pools[p];
    bytes += int64_t{geometry.max_sequences} * pool.blocks_per_sequence * int64_t{sizeof(int32_t)};
    if (pool.kind == PoolKind::kFull)
      bytes += MaxEntryRows(geometry, PoolIndex(p)) * kEntryRowBytes;
  }
  return RoundUp(bytes, kAlign);
}

absl::StatusOr<CapacityPlan> PlanCapacity(const CapacityRequest& request) {
  const ModelSpec& model = request.model;
  const Limits& limits = request.limits;
  // Everything but the capacities is known without them.
  TERRACE_ASSIGN_OR_RETURN(
      const Geometry geometry,
      MakeGeometry(model, limits, std::vector<int32_t>(model.pools.size(), 1)));
  TERRACE_RETURN_IF_ERROR(CheckCounts(request));
  const int64_t prefills =
      request.prefill_sequences != 0 ? request.prefill_sequences : limits.max_sequences;

  CapacityPlan plan;
  plan.model = model;
  plan.limits = limits;
  plan.prefill_sequences = static_cast<int32_t>(prefills);
  plan.prefix_reuse = request.prefix_reuse && HasCheckpoints(geometry);
  plan.in_flight_plans = request.in_flight_plans;
  plan.memory_bytes = request.memory_bytes;
  plan.table_bytes = TableBytes(geometry);

  const LayerRange all_layers = {0, static_cast<int32_t>(model.layers.size())};
  const int num_pools = geometry.num_pools;
  std::vector<FixedBlocks> fixed(num_pools);
  std::vector<PoolPages> block_place(num_pools);  // of one block
  Parts parts = {.tables = plan.table_bytes};
  int64_t useful_chunk_bytes = 0;
  for (int p = 0; p < num_pools; ++p) {
    block_place[p] = PlacePages(model.pools[p], CountLayers(model, PoolIndex(p), all_layers), 1,
                                limits.max_drafts);
    fixed[p] = FixedBlocksOf(geometry, p, request, plan.prefix_reuse);
    const int64_t reserved = block_place[p].reserved_bytes_per_block();
    const int64_t useful = block_place[p].useful_bytes_per_block;
    if (model.pools[p].kind == PoolKind::kFull) {
      parts.chunk += reserved;
      useful_chunk_bytes += useful;
      continue;
    }
    const double blocks =
        static_cast<double>(limits.max_sequences) * static_cast<double>(fixed[p].sequence) +
        static_cast<double>(prefills) * static_cast<double>(fixed[p].prefill);
    if (blocks * static_cast<double>(reserved) > kMostBytes) {
      return absl::OutOfRangeError(
          absl::StrCat("pool ", model.pools[p].name,
                       " takes more than 2^60 bytes for all sequences; allow "
                       "fewer sequences, plans in flight or drafts"));
    }
    parts.sequences +=
        (limits.max_sequences * fixed[p].sequence + prefills * fixed[p].prefill) * reserved;
    plan.checkpoint_bytes += fixed[p].checkpoint * reserved;
    const int64_t row = useful / model.pools[p].entries_per_block;
    const bool window = p == geometry.window_pool;
    if (window) plan.useful_fixed_bytes_per_sequence = row * model.window_tokens;
    if (fixed[p].checkpoint > 0) {
      plan.useful_checkpoint_bytes += window ? row * (model.window_tokens - 1) : row;
    }
    if (model.pools[p].kind == PoolKind::kState) {
      plan.useful_state_bytes_per_sequence += useful;
      plan.state_bytes_per_sequence += reserved;
    }
  }
  plan.fixed_bytes_per_sequence = CeilDiv(parts.sequences, limits.max_sequences);

  int64_t left = request.memory_bytes - parts.tables - parts.sequences;
  if (plan.prefix_reuse) {
    const int64_t fewest = request.checkpoints >= 0 ? request.checkpoints : limits.max_sequences;
    if (static_cast<double>(fewest) * static_cast<double>(plan.checkpoint_bytes) > kMostBytes) {
      return absl::OutOfRangeError(
          absl::StrCat(fewest, " checkpoints take more than 2^60 bytes; ask for fewer"));
    }
    parts.checkpoints = fewest * plan.checkpoint_bytes;
    plan.checkpoints = fewest;
    if (request.checkpoints < 0) {
      const int64_t share = std::min(left / 8, left - parts.chunk);
      plan.checkpoints = std::max(fewest, share / plan.checkpoint_bytes);
    }
  }
  left -= plan.checkpoints * plan.checkpoint_bytes;
  if (left < parts.chunk) return TooSmall(request.memory_bytes, parts);
  const int64_t chunks = parts.chunk == 0 ? 0 : left / parts.chunk;
  plan.unused_bytes = left - chunks * parts.chunk;

  std::vector<int32_t> capacity(num_pools);
  for (int p = 0; p < num_pools; ++p) {
    int64_t blocks = chunks;
    if (model.pools[p].kind != PoolKind::kFull) {
      blocks = limits.max_sequences * fixed[p].sequence + prefills * fixed[p].prefill +
               plan.checkpoints * fixed[p].checkpoint;
    }
    if (blocks > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat("pool ", model.pools[p].name, ": ", blocks,
                                                     " blocks are more than a 32-bit id counts"));
    }
    capacity[p] = static_cast<int32_t>(blocks);
    plan.pools.push_back(
        {model.pools[p].name, model.pools[p].kind, capacity[p],
         PlacePages(model.pools[p], block_place[p].layers, blocks, limits.max_drafts)});
  }
  TERRACE_ASSIGN_OR_RETURN(plan.geometry, MakeGeometry(model, limits, capacity));

  if (parts.chunk != 0) {
    plan.max_tokens = chunks * model.chunk_tokens;
    plan.marginal_bytes_per_token = static_cast<double>(parts.chunk) / model.chunk_tokens;
    plan.useful_bytes_per_token = static_cast<double>(useful_chunk_bytes) / model.chunk_tokens;
  } else {  // a window alone holds any context
    plan.max_tokens = int64_t{limits.max_sequences} * plan.geometry.max_context_tokens;
  }
  return plan;
}

int64_t SequencesThatFit(const CapacityPlan& plan, int64_t context_tokens) {
  if (context_tokens > plan.geometry.max_context_tokens) return 0;
  const int64_t sequences = plan.geometry.max_sequences;
  if (context_tokens <= 0) return sequences;
  if (plan.marginal_bytes_per_token == 0) return sequences;
  return std::min(sequences, plan.max_tokens / RoundUp(context_tokens, plan.geometry.chunk_tokens));
}

}  // namespace terrace
