// CaptureOverlap and RestoreState: what checkpoints keep of the compressor's state, for all layers
// at once.

#ifndef TERRACE_SRC_OPS_STATE_PARAMS_H_
#define TERRACE_SRC_OPS_STATE_PARAMS_H_

#include <cstdint>

#include "src/model/state_pages.h"
#include "src/ops/pages.h"
#include "terrace/plan_format.h"

namespace terrace::internal {

// Takes the overlap rows of positions that earlier steps reached, for the CSA layers. The plan
// names the state block, because the sequence may be another sequence's by now.
struct CaptureOverlapParams {
  CsaStateLayout layout;
  PoolStatePages state;
  PoolStatePages overlap;
  const CheckpointRecord* records;  // [count]
  int32_t count;
};

// Makes the state of sequences what it was at a checkpoint, or empty, and says in every page that
// their next step begins there.
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

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_STATE_PARAMS_H_
