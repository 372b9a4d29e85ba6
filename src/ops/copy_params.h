// CopyBlocks: whole blocks, all layers and planes, inside their pools.

#ifndef TERRACE_SRC_OPS_COPY_PARAMS_H_
#define TERRACE_SRC_OPS_COPY_PARAMS_H_

#include <cstdint>

#include "terrace/plan_format.h"

namespace terrace::internal {

// One block is `pieces` pieces of piece_bytes, piece_stride apart.
//
//   first piece of block b: base + b * block_stride
struct CopyPool {
  uint8_t* base;
  int64_t block_stride;
  int64_t piece_stride;
  int64_t piece_bytes;  // a multiple of 16
  int32_t pieces;
};

struct CopyParams {
  CopyPool pools[kMaxPools];
  const BlockCopy* copies;  // [count]; no block is both a source and a destination
  int32_t count;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_COPY_PARAMS_H_
