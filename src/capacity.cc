#include "terrace/capacity.h"

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "terrace/geometry_builder.h"
#include "terrace/units.h"

namespace terrace {
namespace {

absl::Status TooSmall(int64_t memory, int64_t tables, int64_t windows, int64_t chunk) {
  const int64_t needed = tables + windows + chunk;
  return absl::OutOfRangeError(absl::StrCat(
      memory, " bytes (", FormatBytes(memory), ") are too few: tables take ", FormatBytes(tables),
      ", window pools ", FormatBytes(windows), ", one chunk ", FormatBytes(chunk),
      "; give at least ", needed, " bytes (", FormatBytes(needed), ") or allow fewer sequences"));
}

}  // namespace

int64_t TableBytes(const Geometry& geometry) {
  // Per token row: what queries read of it, its lane record, its position and its window slot. Per
  // entry row: its slot and the position it is rotated at.
  constexpr int64_t kTokenRowBytes = 28;
  constexpr int64_t kEntryRowBytes = 8;
  constexpr int64_t kAlign = 256;  // where a pool may start
  int64_t bytes = geometry.max_step_tokens * kTokenRowBytes + MaxStepPlanBytes(geometry);
  for (int p = 0; p < geometry.num_pools; ++p) {
    const PoolGeometry& pool = geometry.pools[p];
    bytes += int64_t{geometry.max_sequences} * pool.blocks_per_lane * int64_t{sizeof(int32_t)};
    if (pool.kind == PoolKind::kFull) bytes += MaxEntryRows(geometry, p) * kEntryRowBytes;
  }
  return RoundUp(bytes, kAlign);
}

absl::StatusOr<CapacityPlan> PlanCapacity(const CapacityRequest& request) {
  const ModelSpec& model = request.model;
  const Limits& limits = request.limits;
  // Everything but the capacities is known without them.
  absl::StatusOr<Geometry> geometry =
      MakeGeometry(model, limits, std::vector<int32_t>(model.pools.size(), 1));
  if (!geometry.ok()) return geometry.status();
  if (request.memory_bytes < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("memory_bytes is ", request.memory_bytes, ", not positive"));
  }
  if (request.prefill_sequences < 0 || request.prefill_sequences > limits.max_sequences) {
    return absl::InvalidArgumentError(absl::StrCat("prefill_sequences is ",
                                                   request.prefill_sequences, ", not in 0..",
                                                   limits.max_sequences, " (max_sequences)"));
  }
  const int64_t prefills =
      request.prefill_sequences != 0 ? request.prefill_sequences : limits.max_sequences;

  CapacityPlan plan;
  plan.model = model;
  plan.limits = limits;
  plan.prefill_sequences = static_cast<int32_t>(prefills);
  plan.memory_bytes = request.memory_bytes;
  plan.table_bytes = TableBytes(*geometry);

  const LayerRange all_layers = {0, static_cast<int32_t>(model.layers.size())};
  const int num_pools = geometry->num_pools;
  std::vector<int64_t> blocks(num_pools, 0);
  std::vector<PagePlace> block_place(num_pools);  // of one block
  int64_t window_bytes = 0;
  int64_t chunk_bytes = 0;
  int64_t useful_chunk_bytes = 0;
  for (int p = 0; p < num_pools; ++p) {
    block_place[p] = PlacePages(model.pools[p], CountRows(model, p, all_layers), 1);
    const int64_t reserved = block_place[p].reserved_bytes_per_block();
    const int64_t useful = block_place[p].useful_bytes_per_block;
    if (model.pools[p].kind == PoolKind::kFull) {
      chunk_bytes += reserved;
      useful_chunk_bytes += useful;
      continue;
    }
    const WindowBlocks worst =
        WorstCaseWindowBlocks(geometry->pools[p], model.window_tokens, limits);
    blocks[p] = limits.max_sequences * int64_t{worst.steady} + prefills * worst.prefill_extra;
    window_bytes = blocks[p] * reserved;
    plan.fixed_bytes_per_sequence = CeilDiv(window_bytes, limits.max_sequences);
    plan.useful_fixed_bytes_per_sequence =
        useful / model.pools[p].entries_per_block * model.window_tokens;
  }

  int64_t left = request.memory_bytes - plan.table_bytes - window_bytes;
  if (left < chunk_bytes) {
    return TooSmall(request.memory_bytes, plan.table_bytes, window_bytes, chunk_bytes);
  }
  const int64_t chunks = chunk_bytes == 0 ? 0 : left / chunk_bytes;
  left -= chunks * chunk_bytes;
  plan.unused_bytes = left;

  std::vector<int32_t> capacity(num_pools);
  for (int p = 0; p < num_pools; ++p) {
    if (model.pools[p].kind == PoolKind::kFull) blocks[p] = chunks;
    if (blocks[p] > std::numeric_limits<int32_t>::max()) {
      return absl::InvalidArgumentError(absl::StrCat("pool ", model.pools[p].name, ": ", blocks[p],
                                                     " blocks are more than a 32-bit id counts"));
    }
    capacity[p] = static_cast<int32_t>(blocks[p]);
    plan.pools.push_back({model.pools[p].name, model.pools[p].kind, capacity[p],
                          PlacePages(model.pools[p], block_place[p].rows, blocks[p])});
  }
  geometry = MakeGeometry(model, limits, capacity);
  if (!geometry.ok()) return geometry.status();
  plan.geometry = *geometry;

  if (chunk_bytes != 0) {
    plan.max_tokens = chunks * model.chunk_tokens;
    plan.marginal_bytes_per_token = static_cast<double>(chunk_bytes) / model.chunk_tokens;
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
