// ModelSpec says what a model stores: its pools, their planes and row formats, and which pool rows
// each layer writes or reads. Plain data; everything else (geometry, capacity, stores) is derived
// from it.

#ifndef TERRACE_MODEL_H_
#define TERRACE_MODEL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "terrace/formats/rope_spec.h"
#include "terrace/formats/row_format.h"
#include "terrace/ids.h"
#include "terrace/pool_kinds.h"

namespace terrace {

struct PlaneSpec {
  RowFormat format = RowFormat::kFlashMlaV4;
  // Rotate rows as they are stored; otherwise they are stored unrotated and may be rotated as they
  // are read.
  bool rope_before_store = true;

  friend bool operator==(const PlaneSpec&, const PlaneSpec&) = default;
};

struct PoolSpec {
  std::string name;
  PoolKind kind = PoolKind::kFull;
  // Tokens per entry; 1 for a window or overlap pool; of the full pool that a state pool fills.
  int32_t ratio = 1;
  EntryRule rule = EntryRule::kPooled;
  // The latent first, then the indexer key if there is one; none in an overlap or state pool.
  std::vector<PlaneSpec> planes;
  // Overlap and state pools: bytes of a layer's page, which only the compressor reads, and what it
  // has more for each draft that Limits allow. Multiples of 16; 0 in other pools, and the second
  // one in the overlap pool.
  int64_t opaque_bytes = 0;
  int64_t opaque_bytes_per_draft = 0;
  // A power of two; full pools: chunk_tokens / ratio, overlap and state pools 1.
  int32_t entries_per_block = 0;
  PoolLayout layout = PoolLayout::kBlockMajor;
  int64_t page_align = 32;  // bytes, a multiple of 16 that divides block_align
  // Bytes, a multiple of 16, and of the row in formats that have scales behind each row's data. 576
  // is FlashMLA's multiple for the V4 row.
  int64_t block_align = 576;

  friend bool operator==(const PoolSpec&, const PoolSpec&) = default;
};

// Where a layer finds its pages in one pool: at `index` of the layers whose pages the pool holds.
// Several layers may read them; exactly one writes them.
struct LayerPool {
  int32_t pool = 0;
  int32_t index = 0;
  bool writes = true;

  friend bool operator==(const LayerPool&, const LayerPool&) = default;
};

struct LayerSpec {
  std::vector<LayerPool> pools;  // at most one of each kind
  int32_t rope = 0;              // index into ModelSpec::ropes

  friend bool operator==(const LayerSpec&, const LayerSpec&) = default;
};

struct ModelSpec {
  std::string name;
  int32_t window_tokens = 128;
  // A multiple of 128: one block of every full pool, the unit of prefix reuse.
  int32_t chunk_tokens = 256;
  int32_t max_context_tokens = 1 << 20;
  int32_t top_k = 512;
  std::vector<RopeSpec> ropes;
  std::vector<PoolSpec> pools;
  std::vector<LayerSpec> layers;

  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// A contiguous range of a model's layers, as one store of a pipeline holds it.
struct LayerRange {
  int32_t first = 0;
  int32_t count = 0;
};

// What a layered model is described by; MakeModel turns it into pools and layers.
struct LayeredModelOptions {
  std::string name = "custom";
  // One per layer: 0 = window only, else 1, 2, 4 or 128: the ratio of its full pool.
  std::vector<int32_t> ratios;
  RowFormat latent_format = RowFormat::kFlashMlaV4;
  RowFormat indexer_format = RowFormat::kIndexerFp8;
  // The full pool of this ratio carries an indexer plane too; 0 = none does.
  int32_t indexer_ratio = 4;
  EntryRule rule = EntryRule::kPooled;
  // Checkpoints keep the compressor's overlap rows, where layers of ratio 4 pool their entries.
  // false: a compressor of the caller's own looks after its state.
  bool overlap = true;
  // Sequences keep the state that Store::Compress goes on from, where layers of ratio 4 or 128 pool
  // their entries; with ratio 4 it needs `overlap`. false: for engines that compress themselves.
  bool state = false;
  int32_t swa_block_tokens = 64;
  int32_t chunk_tokens = 256;
  int32_t max_context_tokens = 1 << 20;
  int32_t top_k = 512;
  PoolLayout layout = PoolLayout::kBlockMajor;
  int64_t page_align = 32;
  // 0 = what readers of the latent format ask for (docs/formats.md section 1), made a multiple of
  // page_align.
  int64_t block_align = 0;
};

// Pools "swa", then one per distinct ratio, ascending: "c1", "c2", "csa" (4), "hca" (128), then
// "overlap" with a row for each layer of ratio 4, if their entries are pooled, and with `state`
// "csa_state" and "hca_state" (docs/formats.md section 5 has what lies in them). Layers with a full
// pool use ropes[1] (base 160000, YaRN 16), the others ropes[0] (base 10000).
// Errors: InvalidArgument that names the field, as ValidateModel.
absl::StatusOr<ModelSpec> MakeModel(const LayeredModelOptions& options);

// 43 layers: 2 window-only, 21 CSA, 20 HCA, with the compressor's state.   Source: DeepSeek-V4.
ModelSpec DeepSeekV4Flash();

// 61 layers: 30 CSA, 31 HCA, with the compressor's state.   Source: DeepSeek-V4.
ModelSpec DeepSeekV4Pro();

// "deepseek-v4-flash" or "deepseek-v4-pro".   Errors: NotFound that lists the names.
absl::StatusOr<ModelSpec> ModelByName(absl::string_view name);

// What ModelByName gives to MakeModel, for variants: other formats, blocks or layouts, no state.
absl::StatusOr<LayeredModelOptions> ModelOptionsByName(absl::string_view name);

// Errors: InvalidArgument with the field and both values, e.g. "pool csa: entries_per_block is 48,
// not a power of two".
// Cost: O(layers).
absl::Status ValidateModel(const ModelSpec& model);

// The window pool, the overlap pool, the state pool of a ratio; kNoPool where the model has none.
PoolIndex WindowPool(const ModelSpec& model);
PoolIndex OverlapPool(const ModelSpec& model);
PoolIndex StatePool(const ModelSpec& model, int32_t ratio);

// The full pool that layer `layer` reads or writes; kNoPool if it has a window alone, and for a
// layer that the model has not.
PoolIndex FullPool(const ModelSpec& model, int layer);

// "window", "full", "overlap" or "state".
absl::string_view PoolKindName(PoolKind kind);

// How many layers of `layers` write to `pool`: whose pages it holds. 0 for a pool the model has not.
int CountLayers(const ModelSpec& model, PoolIndex pool, LayerRange layers);

}  // namespace terrace

#endif  // TERRACE_MODEL_H_
