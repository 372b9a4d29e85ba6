// PlaceOf finds where a layer's rows lie.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_LAYER_PLACES_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_LAYER_PLACES_H_

#include "terrace/model.h"

namespace terrace::tools {

// The layer's place in its pool of `kind`, or null if it has none.
inline const LayerPool* PlaceOf(const ModelSpec& model, int layer, PoolKind kind) {
  for (const LayerPool& place : model.layers[layer].pools) {
    if (model.pools[place.pool].kind == kind) return &place;
  }
  return nullptr;
}

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_LAYER_PLACES_H_
