// The models of model.h that are made from one ratio a layer.

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/base/status_macros.h"
#include "src/model/state_pages.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"

namespace terrace {
namespace {

using internal::CsaStateLayout;
using internal::HcaStateLayout;
using internal::PairStateLayout;

constexpr std::array<int32_t, 4> kRatios = {1, 2, 4, 128};  // of full pools
constexpr int64_t kMaxPageAlign = int64_t{1} << 20;

absl::string_view FullPoolName(int32_t ratio) {
  switch (ratio) {
    case 1:
      return "c1";
    case 2:
      return "c2";
    case 4:
      return "csa";
    default:
      return "hca";
  }
}

// Formats whose readers rotate after they load (docs/formats.md section 1) are stored unrotated.
PlaneSpec MakePlane(const LayeredModelOptions& options, RowFormat format) {
  return {format, format != RowFormat::kFp8PerToken &&
                      (format != RowFormat::kNvfp4 || options.rotate_nvfp4)};
}

// What the compressor keeps of a ratio-4 layer.
CsaStateLayout CsaLayout(const PoolSpec& compressed, int32_t max_drafts) {
  return {compressed.planes.size() > 1 ? kIndexerChannels : 0, max_drafts};
}

// A pool that only the compressor reads. `base` has the layout and the alignments.
PoolSpec OpaquePool(const PoolSpec& base, std::string name, PoolKind kind) {
  PoolSpec pool = base;
  pool.name = std::move(name);
  pool.kind = kind;
  pool.entries_per_block = 1;
  pool.entries_per_page = 0;
  pool.block_align = base.page_align;  // the other alignment is for readers of rows
  return pool;
}

// Index of the pool, or -1 where nothing overlaps. `base` has the alignments and the layout.
int32_t AddOverlapPool(const LayeredModelOptions& options, const PoolSpec& base, ModelSpec& model) {
  if (!options.overlap || options.rule != EntryRule::kPooled) return -1;
  const auto compressed = std::find_if(
      model.pools.begin(), model.pools.end(),
      [](const PoolSpec& p) { return p.kind == PoolKind::kFull && p.ratio == kCsaRatio; });
  if (compressed == model.pools.end()) return -1;
  PoolSpec pool = OpaquePool(base, "overlap", PoolKind::kOverlap);
  pool.opaque_bytes = CsaLayout(*compressed, 0).overlap_page_bytes();
  model.pools.push_back(std::move(pool));
  return static_cast<int32_t>(model.pools.size()) - 1;
}

void AddStatePools(const LayeredModelOptions& options, const PoolSpec& base, ModelSpec& model) {
  if (!options.state || options.rule != EntryRule::kPooled) return;
  const size_t num_pools = model.pools.size();
  for (size_t p = 0; p < num_pools; ++p) {
    const PoolSpec compressed = model.pools[p];
    const int32_t ratio = compressed.ratio;
    if (compressed.kind != PoolKind::kFull || !internal::HasState(ratio)) continue;
    const auto bytes = [&](int32_t max_drafts) {
      if (ratio == kPairRatio) return PairStateLayout{max_drafts}.page_bytes();
      return ratio == kCsaRatio ? CsaLayout(compressed, max_drafts).page_bytes()
                                : HcaStateLayout{max_drafts}.page_bytes();
    };
    PoolSpec pool = OpaquePool(base, compressed.name + "_state", PoolKind::kState);
    pool.ratio = ratio;
    pool.opaque_bytes = bytes(0);
    pool.opaque_bytes_per_draft = bytes(1) - bytes(0);
    model.pools.push_back(std::move(pool));
  }
}

// What the readers of a format ask of the distance between two blocks (docs/formats.md section 1).
int64_t DefaultBlockAlign(RowFormat latent) {
  const RowLayout layout = LayoutOf(latent);
  if (layout.place == ScalePlace::kBehindRow) return layout.row_bytes();
  switch (latent) {
    case RowFormat::kNvfp4:
    case RowFormat::kMxfp8V41:
    case RowFormat::kFp8PerTensor:
      return 512;
    case RowFormat::kNvfp4Rope:
      return 16;
    default:
      return 576;
  }
}

// Of a pool that holds rows, by its first plane.
int64_t BlockAlign(const LayeredModelOptions& options, const PoolSpec& pool) {
  const auto given = options.block_aligns.find(pool.name);
  if (given != options.block_aligns.end()) return given->second;
  if (options.block_align != 0) return options.block_align;
  return std::lcm(DefaultBlockAlign(pool.planes[0].format), options.page_align);
}

bool HasIndexer(const LayeredModelOptions& options, int32_t ratio) {
  if (options.indexer_ratios.empty()) return ratio == options.indexer_ratio;
  return std::find(options.indexer_ratios.begin(), options.indexer_ratios.end(), ratio) !=
         options.indexer_ratios.end();
}

bool MakesEntries(const LayeredModelOptions& options, size_t layer) {
  return options.kv_sources.empty() ||
         std::binary_search(options.kv_sources.begin(), options.kv_sources.end(),
                            static_cast<int32_t>(layer));
}

absl::Status CheckRatios(const LayeredModelOptions& options) {
  for (size_t layer = 0; layer < options.ratios.size(); ++layer) {
    const int32_t ratio = options.ratios[layer];
    if (ratio == 0 || std::find(kRatios.begin(), kRatios.end(), ratio) != kRatios.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("ratios[", layer, "] is ", ratio, ", not 0, ", absl::StrJoin(kRatios, ", ")));
  }
  return absl::OkStatus();
}

// Sources ascend and have a ratio, and each other layer with a ratio has that of the last source.
absl::Status CheckSources(const LayeredModelOptions& options) {
  const std::vector<int32_t>& sources = options.kv_sources;
  const int32_t num_layers = static_cast<int32_t>(options.ratios.size());
  for (size_t i = 0; i < sources.size(); ++i) {
    const int32_t first = i == 0 ? 0 : sources[i - 1] + 1;
    if (sources[i] < first || sources[i] >= num_layers) {
      return absl::InvalidArgumentError(absl::StrCat("kv_sources[", i, "] is ", sources[i],
                                                     ", not in ", first, "..", num_layers - 1));
    }
    if (options.ratios[sources[i]] == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "kv_sources[", i, "] is ", sources[i], ", a layer whose ratio is 0: it has no entries"));
    }
  }
  if (sources.empty()) return absl::OkStatus();
  int32_t source = -1;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    if (MakesEntries(options, layer)) source = layer;
    const int32_t ratio = options.ratios[layer];
    if (ratio == 0 || (source >= 0 && options.ratios[source] == ratio)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "kv_sources: layer ", layer, " of ratio ", ratio, " reads what the last source before it ",
        "makes, which is ",
        source < 0 ? "none"
                   : absl::StrCat("layer ", source, " of ratio ", options.ratios[source])));
  }
  return absl::OkStatus();
}

absl::Status CheckPoolNames(const LayeredModelOptions& options) {
  std::vector<absl::string_view> names = {"swa"};
  for (const int32_t ratio : kRatios) names.push_back(FullPoolName(ratio));
  for (const auto& [name, align] : options.block_aligns) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("block_aligns names pool \"", name, "\", not ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelSpec> MakeModel(const LayeredModelOptions& options) {
  // ValidateModel checks the alignments; here the least common multiple must exist.
  if (options.page_align < 1 || options.page_align > kMaxPageAlign) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_align is ", options.page_align, ", not in 16..", kMaxPageAlign));
  }
  TERRACE_RETURN_IF_ERROR(CheckRatios(options));
  TERRACE_RETURN_IF_ERROR(CheckSources(options));
  TERRACE_RETURN_IF_ERROR(CheckPoolNames(options));
  ModelSpec model;
  model.name = options.name;
  model.chunk_tokens = options.chunk_tokens;
  model.max_context_tokens = options.max_context_tokens;
  model.top_k = options.top_k;
  model.ropes = {kWindowRope, kCompressedRope};

  PoolSpec base;
  base.layout = options.layout;
  base.page_align = options.page_align;

  PoolSpec window = base;
  window.name = "swa";
  window.kind = PoolKind::kWindow;
  window.planes = {MakePlane(options, options.window_format.value_or(options.latent_format))};
  window.entries_per_block = options.swa_block_tokens;
  window.block_align = BlockAlign(options, window);
  model.pools.push_back(std::move(window));

  std::map<int32_t, int32_t> pool_of_ratio;  // ascending, as the pools are
  for (const int32_t ratio : options.ratios) {
    if (ratio != 0) pool_of_ratio[ratio] = 0;
  }
  for (auto& [ratio, index] : pool_of_ratio) {
    index = static_cast<int32_t>(model.pools.size());
    PoolSpec pool = base;
    pool.name = std::string(FullPoolName(ratio));
    pool.kind = PoolKind::kFull;
    pool.ratio = ratio;
    pool.rule = options.rule;
    pool.planes = {MakePlane(options, options.latent_format)};
    if (HasIndexer(options, ratio)) {
      pool.planes.push_back(MakePlane(options, options.indexer_format));
    }
    pool.entries_per_block = options.chunk_tokens / ratio;
    pool.entries_per_page = std::min(options.entries_per_page, pool.entries_per_block);
    pool.block_align = BlockAlign(options, pool);
    model.pools.push_back(std::move(pool));
  }

  const int32_t overlap = AddOverlapPool(options, base, model);
  AddStatePools(options, base, model);

  std::vector<int32_t> next_row(model.pools.size(), 0);
  for (size_t l = 0; l < options.ratios.size(); ++l) {
    const int32_t ratio = options.ratios[l];
    LayerSpec layer;
    layer.pools.push_back({0, next_row[0]++, true});
    if (ratio != 0) {
      const int32_t pool = pool_of_ratio[ratio];
      layer.rope = 1;
      if (!MakesEntries(options, l)) {
        layer.pools.push_back({pool, next_row[pool] - 1, false});
        model.layers.push_back(std::move(layer));
        continue;
      }
      layer.pools.push_back({pool, next_row[pool]++, true});
    }
    if (ratio == kCsaRatio && overlap >= 0) {
      layer.pools.push_back({overlap, next_row[overlap]++, true});
    }
    if (const int state = StatePool(model, ratio).value(); state >= 0) {
      layer.pools.push_back({state, next_row[state]++, true});
    }
    model.layers.push_back(std::move(layer));
  }
  TERRACE_RETURN_IF_ERROR(ValidateModel(model));
  return model;
}

}  // namespace terrace
