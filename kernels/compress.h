// Compress: from the raw kv and score rows of a step to the entries that close in it, and the state
// that the next step goes on from (src/model/state_pages.h, terrace/formats/compress_math.h).
// One launch a layer: the CSA latent with its indexer key, or HCA.
//
// CaptureOverlap and RestoreState: what checkpoints keep of the state, for all layers at once.

#ifndef TERRACE_KERNELS_COMPRESS_H_
#define TERRACE_KERNELS_COMPRESS_H_

#include <cstdint>

#include "kernels/common/launch_target.h"
#include "src/model/state_pages.h"
#include "src/ops/pages.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/rope_table.h"
#include "terrace/geometry.h"
#include "terrace/step_view.h"

namespace terrace {

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

// One layer's pages of a state or overlap pool: block b is at base + b * block_stride.
struct StatePages {
  uint8_t* base;         // null: the layer has none
  int64_t block_stride;  // bytes
  int32_t num_blocks;
};

struct CompressParams {
  CompressPlane planes[kMaxPlanes];
  int32_t num_planes;
  int32_t pool_index;  // the layer's full pool: entry_row of the sequences
  PoolGeometry pool;   // its ratio says which of the two it is
  int32_t max_drafts;
  int32_t max_token_rows;  // these size the grid; the plan's own counts are read where it runs
  int32_t max_entry_rows;
  int32_t max_sequences;
  StepView step;
  const int32_t* slots;      // [max_entry_rows]; -1 is not written
  const int32_t* positions;  // [max_entry_rows] of the entries' rotation
  const int32_t*
      state_table;  // [max_sequences] the sequence's block; -1: the sequence is skipped, counted
  StatePages state;
  StatePages overlap;  // CSA: where checkpoints inside the step go
};

TERRACE_HOST_DEVICE CsaStateLayout CsaLayoutOf(const CompressParams& params) {
  return {params.num_planes > 1 ? kIndexerChannels : 0, params.max_drafts};
}

// All layers' pages of a pool in this store.
//
//   page of row r and block b: base + r * layer_stride + b * block_stride
struct PoolStatePages {
  StatePages pages;
  int64_t layer_stride;  // bytes
  int32_t rows;          // 0: the store has none
};

// Takes the overlap rows of positions that earlier steps reached, for the CSA layers. The plan
// names the state block, because the sequence may be another sequence's by now.
struct CaptureOverlapParams {
  CsaStateLayout layout;
  PoolStatePages state;
  PoolStatePages overlap;
  const CheckpointRecord* records;  // [count]
  int32_t count;
};

// Makes the state of sequences what it was at a checkpoint, or empty.
struct RestoreStateParams {
  CsaStateLayout csa_layout;
  PoolStatePages csa_state;
  PoolStatePages hca_state;
  PoolStatePages overlap;
  const int32_t* csa_table;  // [max_sequences] the sequences' blocks
  const int32_t* hca_table;
  const RestoreRecord* records;  // [count]
  int32_t count;
};

// Stream-ordered; return a cudaError_t. Zero rows return before launching.
// REQUIRES: params.pool.ratio is kCsaRatio, or kHcaRatio.
int LaunchCompressCsa(const CompressParams& params, LaunchTarget target);
int LaunchCompressHca(const CompressParams& params, LaunchTarget target);
int LaunchCaptureOverlap(const CaptureOverlapParams& params, LaunchTarget target);
int LaunchRestoreState(const RestoreStateParams& params, LaunchTarget target);

}  // namespace terrace

#endif  // TERRACE_KERNELS_COMPRESS_H_
