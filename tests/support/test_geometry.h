// Geometries for ledger and plan tests, a few fields at a time.

#ifndef TERRACE_TESTS_SUPPORT_TEST_GEOMETRY_H_
#define TERRACE_TESTS_SUPPORT_TEST_GEOMETRY_H_

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "src/model/geometry_builder.h"
#include "terrace/geometry.h"
#include "terrace/model.h"

namespace terrace::testing {

using internal::MakeGeometry;

struct TestGeometryOptions {
  std::vector<int32_t> ratios = {4, 128};  // full pools 1 and 2; the window is pool 0
  EntryRule rule = EntryRule::kPooled;
  int32_t swa_block_tokens = 64;
  int32_t chunk_tokens = 256;
  int32_t window_blocks = 100;  // capacities; 0: no window pool, and all others come one earlier
  int32_t full_blocks = 100;
  int32_t overlap_blocks = 0;  // 0: no overlap pool; else it comes after the full ones
  int32_t state_blocks = 0;    // 0: no state pools; else they are the last ones
  Limits limits = {.max_sequences = 8,
                   .max_step_tokens = 4096,
                   .max_drafts = 4,
                   .max_context_tokens = 8192,
                   .store_whole_chunk = false};
};

// The same layers without a window; those that have nothing else go.
inline ModelSpec WithoutWindow(ModelSpec model) {
  const int window = WindowPool(model).value();
  model.pools.erase(model.pools.begin() + window);
  for (LayerSpec& layer : model.layers) {
    std::erase_if(layer.pools, [&](const LayerPool& use) { return use.pool == window; });
    for (LayerPool& use : layer.pools) use.pool -= use.pool > window;
  }
  std::erase_if(model.layers, [](const LayerSpec& layer) { return layer.pools.empty(); });
  return model;
}

inline Geometry MakeTestGeometry(const TestGeometryOptions& options = {}) {
  LayeredModelOptions model_options;
  model_options.ratios = options.ratios;
  model_options.rule = options.rule;
  model_options.indexer_ratio = 0;
  model_options.overlap = options.overlap_blocks > 0;
  model_options.state = options.state_blocks > 0;
  model_options.swa_block_tokens = options.swa_block_tokens;
  model_options.chunk_tokens = options.chunk_tokens;
  absl::StatusOr<ModelSpec> model = MakeModel(model_options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (options.window_blocks == 0) model = WithoutWindow(*std::move(model));
  std::vector<int32_t> capacities(model->pools.size(), options.full_blocks);
  if (options.window_blocks > 0) capacities[0] = options.window_blocks;
  if (const PoolIndex overlap = OverlapPool(*model); overlap != kNoPool) {
    capacities[overlap.value()] = options.overlap_blocks;
  }
  for (const int32_t ratio : {4, 128}) {
    if (const PoolIndex state = StatePool(*model, ratio); state != kNoPool) {
      capacities[state.value()] = options.state_blocks;
    }
  }
  const absl::StatusOr<Geometry> geometry = MakeGeometry(*model, options.limits, capacities);
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  return *geometry;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_TEST_GEOMETRY_H_
