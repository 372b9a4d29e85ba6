#include "terrace/model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "src/model/state_pages.h"
#include "terrace/formats/row_format.h"

namespace terrace {
namespace {

constexpr int32_t kMaxTokens = 1 << 30;  // positions and lengths fit an int32
constexpr int32_t kMaxEntriesPerBlock = 1 << 16;
constexpr int64_t kMaxAlign = int64_t{1} << 24;
constexpr int64_t kMaxOpaqueBytes = int64_t{1} << 24;
constexpr int64_t kMaxOpaqueBytesPerDraft = int64_t{1} << 16;  // drafts are below 2^24

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

bool IsPowerOfTwo(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

bool IsKnown(RowFormat format) {
  return static_cast<int>(format) >= 0 && static_cast<int>(format) < kNumRowFormats;
}

bool IsKnown(PoolKind kind) {
  return static_cast<int>(kind) >= 0 && static_cast<int>(kind) < kNumPoolKinds;
}

absl::Status ValidateAlignment(const PoolSpec& pool) {
  for (const auto& [field, value] :
       {std::pair("page_align", pool.page_align), std::pair("block_align", pool.block_align)}) {
    if (value < 16 || value % 16 != 0 || value > kMaxAlign) {
      return Invalid("pool ", pool.name, ": ", field, " is ", value,
                     ", not a multiple of 16 in 16..", kMaxAlign);
    }
  }
  if (pool.block_align % pool.page_align != 0) {
    return Invalid("pool ", pool.name, ": block_align ", pool.block_align,
                   " is not a multiple of page_align ", pool.page_align);
  }
  return absl::OkStatus();
}

absl::Status ValidateOpaqueBytes(const PoolSpec& pool) {
  if (pool.opaque_bytes < 16 || pool.opaque_bytes % 16 != 0 ||
      pool.opaque_bytes > kMaxOpaqueBytes) {
    return Invalid("pool ", pool.name, ": opaque_bytes is ", pool.opaque_bytes,
                   ", not a multiple of 16 in 16..", kMaxOpaqueBytes);
  }
  const int64_t per_draft = pool.opaque_bytes_per_draft;
  const int64_t most = pool.kind == PoolKind::kState ? kMaxOpaqueBytesPerDraft : 0;
  if (per_draft < 0 || per_draft % 16 != 0 || per_draft > most) {
    return Invalid("pool ", pool.name, ": opaque_bytes_per_draft is ", per_draft,
                   ", not a multiple of 16 in 0..", most);
  }
  return absl::OkStatus();
}

absl::Status ValidatePlanes(const PoolSpec& pool) {
  const int num_planes = static_cast<int>(pool.planes.size());
  if (!HoldsRows(pool.kind)) {
    if (num_planes != 0) {
      return Invalid("pool ", pool.name, ": ", num_planes, " planes, not 0 as of ",
                     PoolKindName(pool.kind), " pools");
    }
    return ValidateOpaqueBytes(pool);
  }
  if (pool.opaque_bytes != 0 || pool.opaque_bytes_per_draft != 0) {
    return Invalid("pool ", pool.name, ": opaque_bytes is ", pool.opaque_bytes, " and ",
                   pool.opaque_bytes_per_draft, " a draft, not 0: its pages hold rows");
  }
  if (num_planes < 1 || num_planes > kMaxPlanes) {
    return Invalid("pool ", pool.name, ": ", num_planes, " planes, not 1..", kMaxPlanes);
  }
  for (int plane = 0; plane < num_planes; ++plane) {
    const RowFormat format = pool.planes[plane].format;
    if (!IsKnown(format)) {
      return Invalid("pool ", pool.name, ": plane ", plane, " has unknown format ",
                     static_cast<int>(format));
    }
    const int32_t channels = plane == 0 ? kLatentChannels : kIndexerChannels;
    if (LayoutOf(format).channels != channels) {
      return Invalid("pool ", pool.name, ": plane ", plane, " has format ", RowFormatName(format),
                     " of ", LayoutOf(format).channels, " channels, not ", channels,
                     plane == 0 ? " (the latent)" : " (the indexer key)");
    }
    // What reads rows with their scales behind their data steps over blocks row by row.
    const RowLayout layout = LayoutOf(format);
    if (layout.place == ScalePlace::kBehindRow && pool.block_align % layout.row_bytes() != 0) {
      return Invalid("pool ", pool.name, ": block_align ", pool.block_align,
                     " is not a multiple of ", layout.row_bytes(), ", a row of ",
                     RowFormatName(format));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidatePool(const ModelSpec& model, const PoolSpec& pool) {
  if (pool.name.empty()) return Invalid("a pool has no name");
  if (!IsKnown(pool.kind)) {
    return Invalid("pool ", pool.name, ": unknown kind ", static_cast<int>(pool.kind));
  }
  if (pool.rule != EntryRule::kPooled && pool.rule != EntryRule::kStrided) {
    return Invalid("pool ", pool.name, ": unknown rule ", static_cast<int>(pool.rule));
  }
  if (pool.layout != PoolLayout::kBlockMajor && pool.layout != PoolLayout::kLayerMajor) {
    return Invalid("pool ", pool.name, ": unknown layout ", static_cast<int>(pool.layout));
  }
  if (!IsPowerOfTwo(pool.entries_per_block) || pool.entries_per_block > kMaxEntriesPerBlock) {
    return Invalid("pool ", pool.name, ": entries_per_block is ", pool.entries_per_block,
                   ", not a power of two up to ", kMaxEntriesPerBlock);
  }
  if (pool.kind == PoolKind::kState && pool.ratio != kCsaRatio && pool.ratio != kHcaRatio) {
    return Invalid("pool ", pool.name, ": ratio is ", pool.ratio, ", not ", kCsaRatio, " or ",
                   kHcaRatio, " as of state pools");
  }
  if (pool.kind != PoolKind::kFull && pool.kind != PoolKind::kState && pool.ratio != 1) {
    return Invalid("pool ", pool.name, ": ratio is ", pool.ratio, ", not 1 as of ",
                   PoolKindName(pool.kind), " pools");
  }
  if (!HoldsRows(pool.kind) && pool.entries_per_block != 1) {
    return Invalid("pool ", pool.name, ": entries_per_block is ", pool.entries_per_block,
                   ", not 1 as of ", PoolKindName(pool.kind), " pools");
  }
  if (pool.ratio < 1) return Invalid("pool ", pool.name, ": ratio is ", pool.ratio, ", not >= 1");
  if (pool.kind == PoolKind::kFull &&
      int64_t{pool.ratio} * pool.entries_per_block != model.chunk_tokens) {
    return Invalid("pool ", pool.name, ": ratio ", pool.ratio, " x entries_per_block ",
                   pool.entries_per_block, " is not chunk_tokens ", model.chunk_tokens);
  }
  TERRACE_RETURN_IF_ERROR(ValidatePlanes(pool));
  return ValidateAlignment(pool);
}

absl::Status ValidateRope(int index, const RopeSpec& rope) {
  const auto at_least = [](double value, double low) {
    return std::isfinite(value) && value >= low;
  };
  if (!at_least(rope.base, 1))
    return Invalid("ropes[", index, "].base is ", rope.base, ", not >= 1");
  if (!at_least(rope.yarn_factor, 1)) {
    return Invalid("ropes[", index, "].yarn_factor is ", rope.yarn_factor, ", not >= 1");
  }
  if (!at_least(rope.yarn_original_length, 1)) {
    return Invalid("ropes[", index, "].yarn_original_length is ", rope.yarn_original_length,
                   ", not >= 1");
  }
  if (!at_least(rope.yarn_beta_slow, 0) || !at_least(rope.yarn_beta_fast, rope.yarn_beta_slow)) {
    return Invalid("ropes[", index, "]: yarn_beta_fast ", rope.yarn_beta_fast,
                   " is below yarn_beta_slow ", rope.yarn_beta_slow, ", or one is negative");
  }
  return absl::OkStatus();
}

// Every row of every pool is written by exactly one layer, no later than it is read, and the rows
// of a pool are 0 .. n-1.
absl::Status ValidateLayers(const ModelSpec& model) {
  const int num_pools = static_cast<int>(model.pools.size());
  std::vector<std::set<int32_t>> written(model.pools.size());
  for (size_t l = 0; l < model.layers.size(); ++l) {
    const LayerSpec& layer = model.layers[l];
    if (layer.rope < 0 || layer.rope >= static_cast<int>(model.ropes.size())) {
      return Invalid("layer ", l, ": rope is ", layer.rope, ", not in 0..", model.ropes.size() - 1);
    }
    if (layer.pools.empty()) return Invalid("layer ", l, ": it has no pool");
    std::array<int, kNumPoolKinds> of_kind = {};
    for (const LayerPool& use : layer.pools) {
      if (use.pool < 0 || use.pool >= num_pools) {
        return Invalid("layer ", l, ": pool is ", use.pool, ", not in 0..", num_pools - 1);
      }
      const PoolSpec& pool = model.pools[use.pool];
      if (++of_kind[static_cast<int>(pool.kind)] > 1) {
        return Invalid("layer ", l, ": pool ", pool.name, " is its second ",
                       PoolKindName(pool.kind), " pool, at most 1");
      }
      if (use.index < 0 || use.index >= static_cast<int>(model.layers.size())) {
        return Invalid("layer ", l, ": row of pool ", pool.name, " is ", use.index, ", not in 0..",
                       model.layers.size() - 1);
      }
      const bool is_new = use.writes ? written[use.pool].insert(use.index).second
                                     : written[use.pool].count(use.index) == 0;
      if (use.writes && !is_new) {
        return Invalid("layer ", l, ": row ", use.index, " of pool ", pool.name,
                       " is written by an earlier layer too");
      }
      if (!use.writes && is_new) {
        return Invalid("layer ", l, ": row ", use.index, " of pool ", pool.name,
                       " is read, but no earlier layer writes it");
      }
    }
  }
  for (int p = 0; p < num_pools; ++p) {
    if (written[p].empty()) return Invalid("pool ", model.pools[p].name, ": no layer writes it");
    const int32_t last = *written[p].rbegin();
    if (last + 1 != static_cast<int32_t>(written[p].size())) {
      return Invalid("pool ", model.pools[p].name, ": ", written[p].size(),
                     " rows are written but the last is ", last);
    }
  }
  return absl::OkStatus();
}

PoolIndex FirstOfKind(const ModelSpec& model, PoolKind kind) {
  for (size_t p = 0; p < model.pools.size(); ++p) {
    if (model.pools[p].kind == kind) return PoolIndex(static_cast<int32_t>(p));
  }
  return kNoPool;
}

}  // namespace

absl::Status ValidateModel(const ModelSpec& model) {
  if (model.window_tokens < 2 || model.window_tokens > kMaxTokens) {
    return Invalid("window_tokens is ", model.window_tokens, ", not in 2..", kMaxTokens);
  }
  if (model.chunk_tokens < 128 || model.chunk_tokens % 128 != 0 ||
      model.chunk_tokens > kMaxEntriesPerBlock) {
    return Invalid("chunk_tokens is ", model.chunk_tokens, ", not a multiple of 128 in 128..",
                   kMaxEntriesPerBlock);
  }
  if (model.max_context_tokens < 1 || model.max_context_tokens > kMaxTokens) {
    return Invalid("max_context_tokens is ", model.max_context_tokens, ", not in 1..", kMaxTokens);
  }
  if (model.top_k < 1) return Invalid("top_k is ", model.top_k, ", not >= 1");
  if (model.layers.empty()) return Invalid("the model has no layers");
  if (model.ropes.empty()) return Invalid("ropes is empty, not at least 1");
  for (size_t i = 0; i < model.ropes.size(); ++i) {
    TERRACE_RETURN_IF_ERROR(ValidateRope(static_cast<int>(i), model.ropes[i]));
  }
  if (model.pools.empty() || model.pools.size() > kMaxPools) {
    return Invalid("pools has ", model.pools.size(), " members, not 1..", kMaxPools);
  }
  std::set<std::string> names;
  for (const PoolSpec& pool : model.pools) {
    TERRACE_RETURN_IF_ERROR(ValidatePool(model, pool));
    if (!names.insert(pool.name).second) return Invalid("two pools are named ", pool.name);
  }
  for (const PoolKind kind : {PoolKind::kWindow, PoolKind::kOverlap}) {
    if (std::count_if(model.pools.begin(), model.pools.end(),
                      [kind](const PoolSpec& pool) { return pool.kind == kind; }) > 1) {
      return Invalid("pools has more than one ", PoolKindName(kind), " pool, at most 1");
    }
  }
  if (StatePool(model, kCsaRatio) != kNoPool && OverlapPool(model) == kNoPool) {
    return Invalid("pools has a state pool of ratio ", kCsaRatio,
                   " but no overlap pool: what resumes from a checkpoint would lack rows");
  }
  for (const int32_t ratio : {kCsaRatio, kHcaRatio}) {
    if (std::count_if(model.pools.begin(), model.pools.end(), [ratio](const PoolSpec& pool) {
          return pool.kind == PoolKind::kState && pool.ratio == ratio;
        }) > 1) {
      return Invalid("pools has more than one state pool of ratio ", ratio, ", at most 1");
    }
  }
  return ValidateLayers(model);
}

PoolIndex WindowPool(const ModelSpec& model) { return FirstOfKind(model, PoolKind::kWindow); }
PoolIndex OverlapPool(const ModelSpec& model) { return FirstOfKind(model, PoolKind::kOverlap); }
PoolIndex StatePool(const ModelSpec& model, int32_t ratio) {
  for (size_t p = 0; p < model.pools.size(); ++p) {
    if (model.pools[p].kind == PoolKind::kState && model.pools[p].ratio == ratio) {
      return PoolIndex(static_cast<int32_t>(p));
    }
  }
  return kNoPool;
}

PoolIndex FullPool(const ModelSpec& model, int layer) {
  if (layer < 0 || static_cast<size_t>(layer) >= model.layers.size()) return kNoPool;
  for (const LayerPool& at : model.layers[layer].pools) {
    if (model.pools[at.pool].kind == PoolKind::kFull) return PoolIndex(at.pool);
  }
  return kNoPool;
}

absl::string_view PoolKindName(PoolKind kind) {
  switch (kind) {
    case PoolKind::kWindow:
      return "window";
    case PoolKind::kFull:
      return "full";
    case PoolKind::kOverlap:
      return "overlap";
    case PoolKind::kState:
      return "state";
  }
  return "unknown";
}

int CountLayers(const ModelSpec& model, PoolIndex pool, LayerRange layers) {
  int rows = 0;
  const auto end = std::min<int64_t>(int64_t{layers.first} + layers.count, model.layers.size());
  for (int64_t l = std::max(layers.first, 0); l < end; ++l) {
    for (const LayerPool& use : model.layers[l].pools)
      rows += PoolIndex(use.pool) == pool && use.writes;
  }
  return rows;
}

}  // namespace terrace
