// BlockRange is a range of indices of one sequence's block table. WindowRange is the two ranges
// that a sequence has of the window pool.

#ifndef TERRACE_SRC_LEDGER_BLOCK_RANGE_H_
#define TERRACE_SRC_LEDGER_BLOCK_RANGE_H_

#include <cstdint>

#include "terrace/geometry.h"

namespace terrace::internal {

// Indices begin .. end - 1.
struct BlockRange {
  int32_t begin = 0;
  int32_t end = 0;

  int32_t size() const { return end - begin; }
  bool contains(int32_t index) const { return begin <= index && index < end; }
  bool contains(const BlockRange& other) const { return begin <= other.begin && other.end <= end; }
  friend bool operator==(const BlockRange&, const BlockRange&) = default;
};

// The window blocks of a sequence, by index (position / block size). `current` ends with the last
// row. A prefill piece longer than the window leaves a gap of rows that no later step sees. Then
// `old` is what the step's own queries still see before the gap. It goes whole at the next step: by
// then the window lies in `current`, however many drafts were taken back.
struct WindowRange {
  BlockRange old;
  BlockRange current;

  friend bool operator==(const WindowRange&, const WindowRange&) = default;
};

// Blocks of `pool` that hold the tokens 0 .. length - 1.
inline int32_t BlocksOf(const PoolGeometry& pool, int32_t length) {
  return length == 0 ? 0 : (length - 1) / pool.tokens_per_block + 1;
}

// Chunks that `length` tokens have begun.
inline int32_t ChunksOf(const Geometry& geometry, int32_t length) {
  return length == 0 ? 0 : (length - 1) / geometry.chunk_tokens + 1;
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_BLOCK_RANGE_H_
