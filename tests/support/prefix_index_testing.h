// What tests of the prefix index share: chunks of four tokens, each named by a number.

#ifndef TERRACE_TESTS_SUPPORT_PREFIX_INDEX_TESTING_H_
#define TERRACE_TESTS_SUPPORT_PREFIX_INDEX_TESTING_H_

#include <cstdint>
#include <vector>

#include "src/ledger/prefix_index.h"

namespace terrace::testing {

inline constexpr int32_t kTestChunkTokens = 4;

inline internal::PrefixIndexOptions TestIndexOptions(ChunkHash hash = &NextDigest) {
  return {.max_chunks = 128,
          .chunk_tokens = kTestChunkTokens,
          .blocks_per_chunk = 2,
          .max_checkpoints = 16,
          .blocks_per_checkpoint = 2,
          .hash = hash};
}

inline std::vector<int32_t> ChunkOf(int32_t name) { return {name, 7, -name, 0}; }
inline std::vector<BlockId> TestBlocks(int32_t name) {
  return {BlockId(name), BlockId(name + 1000)};
}

// A user of the path of these chunks under `salt`, stored where they are not. Its tip.
inline internal::ChunkId UsePath(internal::PrefixIndex& index, absl::string_view salt,
                                 const std::vector<int32_t>& names,
                                 Priority priority = Priority::kNormal) {
  internal::ChunkId tip = index.AcquireRoot(salt);
  for (const int32_t name : names) {
    tip = index.Publish(tip, ChunkOf(name), TestBlocks(name), priority).chunk;
  }
  return tip;
}

// The chunk at the end of this path, if all of it is there.
inline std::optional<internal::ChunkId> FindPath(const internal::PrefixIndex& index,
                                                 absl::string_view salt,
                                                 const std::vector<int32_t>& names) {
  std::optional<internal::ChunkId> tip = index.FindRoot(salt);
  for (const int32_t name : names) {
    if (!tip.has_value()) return std::nullopt;
    tip = index.FindChild(*tip, index.Hash(*tip, ChunkOf(name)), ChunkOf(name));
  }
  return tip;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_PREFIX_INDEX_TESTING_H_
