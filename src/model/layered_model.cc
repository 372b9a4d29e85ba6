// The models of model.h that are made from one ratio a layer.

#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/base/check.h"
#include "src/base/status_macros.h"
#include "src/model/state_pages.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"

namespace terrace {
namespace {

using internal::CsaStateLayout;
using internal::HcaStateLayout;

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
PlaneSpec MakePlane(RowFormat format) {
  return {format, format != RowFormat::kFp8PerToken && format != RowFormat::kNvfp4};
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
    if (compressed.kind != PoolKind::kFull || (ratio != kCsaRatio && ratio != kHcaRatio)) continue;
    const auto bytes = [&](int32_t max_drafts) {
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

// 4 and 128 in turn, ending on 4, after `first` twice.
std::vector<int32_t> AlternatingRatios(int32_t first, int num_layers) {
  std::vector<int32_t> ratios = {first, first};
  for (int layer = 2; layer < num_layers; ++layer) ratios.push_back(layer % 2 == 0 ? 4 : 128);
  return ratios;
}

LayeredModelOptions FlashOptions() {
  LayeredModelOptions options;
  options.name = "deepseek-v4-flash";
  options.ratios = AlternatingRatios(0, 43);
  options.state = true;
  return options;
}

LayeredModelOptions ProOptions() {
  LayeredModelOptions options;
  options.name = "deepseek-v4-pro";
  options.ratios = AlternatingRatios(128, 61);
  options.state = true;
  options.top_k = 1024;
  return options;
}

ModelSpec MustMake(const LayeredModelOptions& options) {
  absl::StatusOr<ModelSpec> model = MakeModel(options);
  TERRACE_CHECK_OK(model);
  return *std::move(model);
}

}  // namespace

absl::StatusOr<ModelSpec> MakeModel(const LayeredModelOptions& options) {
  // ValidateModel checks the alignments; here the least common multiple must exist.
  if (options.page_align < 1 || options.page_align > kMaxPageAlign) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_align is ", options.page_align, ", not in 16..", kMaxPageAlign));
  }
  ModelSpec model;
  model.name = options.name;
  model.chunk_tokens = options.chunk_tokens;
  model.max_context_tokens = options.max_context_tokens;
  model.top_k = options.top_k;
  model.ropes = {kWindowRope, kCompressedRope};

  PoolSpec base;
  base.layout = options.layout;
  base.page_align = options.page_align;
  base.block_align = options.block_align != 0
                         ? options.block_align
                         : std::lcm(DefaultBlockAlign(options.latent_format), options.page_align);

  PoolSpec window = base;
  window.name = "swa";
  window.kind = PoolKind::kWindow;
  window.planes = {MakePlane(options.latent_format)};
  window.entries_per_block = options.swa_block_tokens;
  model.pools.push_back(std::move(window));

  std::map<int32_t, int32_t> pool_of_ratio;  // ascending, as the pools are
  for (size_t layer = 0; layer < options.ratios.size(); ++layer) {
    const int32_t ratio = options.ratios[layer];
    if (ratio == 0) continue;
    if (std::find(kRatios.begin(), kRatios.end(), ratio) == kRatios.end()) {
      return absl::InvalidArgumentError(absl::StrCat("ratios[", layer, "] is ", ratio, ", not 0, ",
                                                     absl::StrJoin(kRatios, ", ")));
    }
    pool_of_ratio[ratio] = 0;
  }
  for (auto& [ratio, index] : pool_of_ratio) {
    index = static_cast<int32_t>(model.pools.size());
    PoolSpec pool = base;
    pool.name = std::string(FullPoolName(ratio));
    pool.kind = PoolKind::kFull;
    pool.ratio = ratio;
    pool.rule = options.rule;
    pool.planes = {MakePlane(options.latent_format)};
    if (ratio == options.indexer_ratio) pool.planes.push_back(MakePlane(options.indexer_format));
    pool.entries_per_block = options.chunk_tokens / ratio;
    model.pools.push_back(std::move(pool));
  }

  const int32_t overlap = AddOverlapPool(options, base, model);
  AddStatePools(options, base, model);

  std::vector<int32_t> next_row(model.pools.size(), 0);
  for (const int32_t ratio : options.ratios) {
    LayerSpec layer;
    layer.pools.push_back({0, next_row[0]++, true});
    if (ratio != 0) {
      const int32_t pool = pool_of_ratio[ratio];
      layer.pools.push_back({pool, next_row[pool]++, true});
      layer.rope = 1;
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

ModelSpec DeepSeekV4Flash() { return MustMake(FlashOptions()); }

ModelSpec DeepSeekV4Pro() { return MustMake(ProOptions()); }

absl::StatusOr<LayeredModelOptions> ModelOptionsByName(absl::string_view name) {
  for (LayeredModelOptions options : {FlashOptions(), ProOptions()}) {
    if (options.name == name) return options;
  }
  return absl::NotFoundError(absl::StrCat("no model is named \"", name,
                                          "\"; known are deepseek-v4-flash and deepseek-v4-pro"));
}

absl::StatusOr<ModelSpec> ModelByName(absl::string_view name) {
  TERRACE_ASSIGN_OR_RETURN(const LayeredModelOptions options, ModelOptionsByName(name));
  return MakeModel(options);
}

}  // namespace terrace
