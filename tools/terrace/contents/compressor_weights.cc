#include "tools/terrace/contents/compressor_weights.h"

#include "terrace/formats/row_format.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/contents/hash.h"
#include "tools/terrace/engine/layer_places.h"

namespace terrace::tools {
namespace {

CompressorWeights::Plane MakePlane(const PoolSpec& pool, ContentPlane place, uint64_t seed) {
  CompressorWeights::Plane plane;
  plane.ratio = pool.ratio;
  plane.channels = LayoutOf(pool.planes[place.plane].format).channels;
  plane.columns = pool.ratio == kCsaRatio ? 2 * plane.channels : plane.channels;
  plane.hadamard = plane.channels == kIndexerChannels;
  plane.ape.resize(static_cast<size_t>(plane.ratio) * plane.columns);
  plane.norm.resize(plane.channels);
  const uint64_t ape_seed = ContentSeed(Mix(seed, 1), 0, place);
  const uint64_t norm_seed = ContentSeed(Mix(seed, 2), 0, place);
  for (size_t i = 0; i < plane.ape.size(); ++i) {
    plane.ape[i] = ContentNumber(ape_seed, static_cast<uint32_t>(i));
  }
  for (size_t i = 0; i < plane.norm.size(); ++i) {
    plane.norm[i] = 1.0f + 0.25f * ContentNumber(norm_seed, static_cast<uint32_t>(i));
  }
  return plane;
}

}  // namespace

CompressorWeights::CompressorWeights(const ModelSpec& model, LayerRange layers, uint64_t seed) {
  for (int layer = layers.first; layer < layers.first + layers.count; ++layer) {
    const LayerPool* const state = PlaceOf(model, layer, PoolKind::kState);
    const LayerPool* const full = PlaceOf(model, layer, PoolKind::kFull);
    if (state == nullptr || full == nullptr || !full->writes) continue;
    const PoolSpec& pool = model.pools[full->pool];
    for (int32_t p = 0; p < static_cast<int32_t>(pool.planes.size()); ++p) {
      const ContentPlane place = {full->pool, full->index, p};
      planes_.emplace(KeyOf(place), MakePlane(pool, place, seed));
    }
  }
}

const CompressorWeights::Plane* CompressorWeights::Of(ContentPlane plane) const {
  const auto found = planes_.find(KeyOf(plane));
  return found == planes_.end() ? nullptr : &found->second;
}

}  // namespace terrace::tools
