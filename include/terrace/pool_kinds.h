// What kinds of pool there are, and how many of them. Plain constants, for host and device code.

#ifndef TERRACE_POOL_KINDS_H_
#define TERRACE_POOL_KINDS_H_

#include <cstdint>

namespace terrace {

inline constexpr int kMaxPools = 8;   // of one model; fixes the size of a sequence step
inline constexpr int kMaxPlanes = 2;  // of one pool: the latent, and the indexer key

enum class PoolKind : int32_t {
  // Rows of the last `window_tokens` tokens; blocks are released as the window moves on.
  kWindow = 0,
  // One entry per `ratio` tokens, kept for the sequence's life; one block a chunk.
  kFull = 1,
  // The compressor's rows at a checkpoint, one block each. It has no block table; only plan records
  // write it.
  kOverlap = 2,
  // What the compressor keeps of a live sequence between steps, one block each: index 0 of its
  // sequence's table. One pool for each ratio of the full pools that it fills.
  kState = 3,
};
inline constexpr int kNumPoolKinds = 4;

// Whether the pages hold rows of entries; those of other pools hold what the compressor knows.
constexpr bool HoldsRows(PoolKind kind) {
  return kind == PoolKind::kWindow || kind == PoolKind::kFull;
}

// Which token closes an entry (docs/formats.md section 4).
enum class EntryRule : int32_t {
  kPooled = 0,   // entry i is written when token i*r + r-1 arrives
  kStrided = 1,  // entry i is the row of token i*r, written when that token arrives
};

// Tokens per entry of the compressors that keep a state. An entry of CSA overlaps the 4 tokens before
// its own; one of HCA does not, nor one of DeepSeek-V4.1's pairs.
inline constexpr int kPairRatio = 2;
inline constexpr int kCsaRatio = 4;
inline constexpr int kHcaRatio = 128;

enum class PoolLayout : int32_t {
  kBlockMajor = 0,  // [block][layer][plane][page]: moving a block is one copy
  kLayerMajor = 1,  // [layer][block][plane][page]: one dense tensor a layer
};

}  // namespace terrace

#endif  // TERRACE_POOL_KINDS_H_
