// Compress: from the raw kv and score rows of a step to the entries that close in it, and the state
// that the next step goes on from (src/model/state_pages.h, terrace/formats/compress_math.h).
// One call a layer: the CSA latent with its indexer key, or HCA.

#ifndef TERRACE_SRC_OPS_COMPRESS_PARAMS_H_
#define TERRACE_SRC_OPS_COMPRESS_PARAMS_H_

#include <cstdint>

#include "src/model/state_pages.h"
#include "src/ops/pages.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/rope_table.h"
#include "terrace/geometry.h"
#include "terrace/step_view.h"

namespace terrace::internal {

// The latent, or the indexer key. `width` is its channels, for CSA twice as many.
struct CompressPlane {
  const void* kv;           // [token rows, width] float32, or bf16, 16-byte aligned
  const void* score;        // [token rows, width] alike
  int64_t kv_pitch;         // elements between two rows, whole 16 bytes
  int64_t score_pitch;      // the same
  const float* ape;         // [ratio, width]
  const void* norm_weight;  // [channels] float32, or bf16
  bool bf16_rows;
  bool bf16_weight;
  bool hadamard;       // the indexer key alone
  float eps;           // of RMSNorm
  RopeTableView rope;  // null: stored unrotated
  PlanePages pages;
};

struct CompressParams {
  CompressPlane planes[kMaxPlanes];
  int32_t num_planes;
  int32_t layer;       // of the model
  int32_t pool_index;  // the layer's full pool: entry_row of the sequences
  PoolGeometry pool;   // its ratio says which of the two it is
  int32_t max_drafts;
  int32_t max_token_rows;  // these size the grid; the plan's own counts are read where it runs
  int32_t max_entry_rows;
  int32_t max_sequences;
  StepView step;
  const int32_t* slots;      // [max_entry_rows]; -1 is not written
  const int32_t* positions;  // [max_entry_rows] of the entries' rotation
  // [max_sequences] the sequence's block; -1: the sequence is skipped, counted
  const int32_t* state_table;
  StatePages state;    // a page that is not where the step begins is counted (IsStale)
  StatePages overlap;  // CSA: where checkpoints inside the step go
};

TERRACE_HOST_DEVICE CsaStateLayout CsaLayoutOf(const CompressParams& params) {
  return {params.num_planes > 1 ? kIndexerChannels : 0, params.max_drafts};
}

// What is counted of a sequence's page that is not where the step begins, at `first`.
TERRACE_HOST_DEVICE uint64_t StaleStateOf(const CompressParams& params, int32_t sequence_index,
                                          int32_t first, FedRange range) {
  return PackStaleState({.plan = static_cast<uint32_t>(params.step.header->number),
                         .layer = params.layer,
                         .sequence_index = sequence_index,
                         .fed_again = range.folded > first});
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_COMPRESS_PARAMS_H_
