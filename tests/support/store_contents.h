// StoreContents: what the store of a range of layers must hold, row by row, and the image of its
// pools.

#ifndef TERRACE_TESTS_SUPPORT_STORE_CONTENTS_H_
#define TERRACE_TESTS_SUPPORT_STORE_CONTENTS_H_

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "terrace/formats/rope.h"
#include "tests/support/store_oracle.h"
#include "tests/support/store_scenario.h"

namespace terrace::testing {

class StoreContents {
 public:
  // Draws a global scale for some of the rows.
  StoreContents(const Scenario& scenario, LayerRange layers, Random& random)
      : scenario_(scenario), oracle_(scenario) {
    for (const RopeSpec& rope : scenario.model.ropes) {
      ropes_.push_back(MakeRopeTable(scenario.geometry.max_context_tokens, rope));
    }
    for (int l = layers.first; l < layers.first + layers.count; ++l) {
      for (const LayerPool& use : scenario.model.layers[l].pools) {
        if (!use.writes) continue;
        writer_[{use.pool, use.index}] = l;
        const float scale = Chance(random, 60) ? 1.0f : 0.001f * Draw(random, 1, 4000);
        global_scale_[{use.pool, use.index}] = scale;
      }
    }
    for (int p = 0; p < scenario.geometry.num_pools; ++p) {
      images_.emplace_back(scenario.model.pools[p], NumRows(p),
                           scenario.geometry.pools[p].capacity_blocks);
    }
  }

  StepOracle& oracle() { return oracle_; }
  PoolImage& image(int pool) { return images_[pool]; }
  const std::vector<std::vector<float>>& ropes() const { return ropes_; }

  // A row of a pool.
  struct Place {
    int pool;
    int row;    // of the model
    int layer;  // that writes it
  };

  std::optional<Place> FindPlace(int layer, PoolKind kind) const {
    for (const LayerPool& use : scenario_.model.layers[layer].pools) {
      if (scenario_.model.pools[use.pool].kind != kind) continue;
      return Place{use.pool, use.index, writer_.at({use.pool, use.index})};
    }
    return std::nullopt;
  }

  // Rows of this store's memory: those that its layers write, in the model's order.
  int32_t NumRows(int pool) const {
    return std::count_if(writer_.begin(), writer_.end(),
                         [&](const auto& row) { return row.first.first == pool; });
  }
  // The layer that writes the first of them.
  int FirstWriter(int pool) const { return writer_.lower_bound({pool, 0})->second; }
  int32_t LocalRow(const Place& place) const {
    return std::distance(writer_.lower_bound({place.pool, 0}),
                         writer_.find({place.pool, place.row}));
  }

  const PlaneSpec& Plane(const Place& place, int plane) const {
    return scenario_.model.pools[place.pool].planes[plane];
  }
  float GlobalScale(const Place& place, int plane) const {
    return plane == 0 ? global_scale_.at({place.pool, place.row}) : 1.0f;
  }
  const float* RopeRow(int layer, const Place& place, int32_t entry) const {
    const int32_t position = entry * scenario_.model.pools[place.pool].ratio;
    return ropes_[scenario_.model.layers[layer].rope].data() + int64_t{position} * 64;
  }

  // Whether the caller rotated the rows of a layer itself in plan `version`.
  bool ComesRotated(const Place& place, int plane, uint64_t version) const {
    return Plane(place, plane).rope_before_store && (version + place.layer + plane) % 5 == 0;
  }

  // Encodes what `place` holds of an entry. Returns how many bad values were mended.
  int Encode(const Place& place, int plane, const StepSequence& part, int32_t entry, uint8_t* data,
             uint8_t* scale) const {
    const PlaneSpec& spec = Plane(place, plane);
    const uint64_t version = oracle_.Version(part.sequence, place.pool, entry);
    const RowBits row = RowContent(part.sequence, entry, place.layer, plane, version);
    const bool rotate = spec.rope_before_store && !ComesRotated(place, plane, version);
    return EncodeContent(spec.format, row, rotate ? RopeRow(place.layer, place, entry) : nullptr,
                         GlobalScale(place, plane), data, scale);
  }

 private:
  Scenario scenario_;
  StepOracle oracle_;
  std::vector<std::vector<float>> ropes_;
  std::map<std::pair<int, int>, int> writer_;  // (pool, row) -> layer
  std::map<std::pair<int, int>, float> global_scale_;
  std::vector<PoolImage> images_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_STORE_CONTENTS_H_
