// Replays of the ledger alone that are held against a serial LRU.

#ifndef TERRACE_TESTS_TOOLS_REUSE_REPLAY_H_
#define TERRACE_TESTS_TOOLS_REUSE_REPLAY_H_

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/model.h"
#include "terrace/pool_kinds.h"
#include "terrace/prefix.h"
#include "terrace/units.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {

using tools::Replay;
using tools::ReplayOptions;
using tools::ReplayResult;
using tools::TraceRequest;

inline constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

// The ledger alone, with memory that never evicts.
inline ReplayOptions UnboundedOptions() {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = 1024 * kGiB;
  options.with_data = false;
  return options;
}

inline ReplayResult ReplayAll(const std::vector<TraceRequest>& requests,
                              const ReplayOptions& options) {
  auto result = Replay(requests, options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  EXPECT_EQ(result->scheduler.completed, static_cast<int64_t>(requests.size()));
  EXPECT_EQ(result->leaked_blocks, 0);
  return *std::move(result);
}

// Chunks that the peak of live sequences leaves to prefixes.
inline int64_t ChunksLeft(const ReplayResult& result) {
  int64_t left = kUnbounded;
  for (int p = 0; p < result.capacity.geometry.num_pools; ++p) {
    const PoolGeometry& pool = result.capacity.geometry.pools[p];
    if (pool.kind != PoolKind::kFull) continue;
    left = std::min<int64_t>(left, pool.capacity_blocks - result.occupancy.peak()[p]);
  }
  return left;
}

inline void ExpectSumsAddUp(const ReplayResult& result) {
  const PrefixFigures& prefix = result.prefix;
  EXPECT_EQ(prefix.matched_tokens,
            prefix.resumed_tokens + prefix.skipped_tokens + prefix.refed_tokens);
  EXPECT_EQ(prefix.stored_chunks, prefix.indexed_chunks + prefix.evicted_chunks +
                                      prefix.expired_chunks + prefix.cleared_chunks);
  EXPECT_EQ(prefix.stored_checkpoints, prefix.held_checkpoints + prefix.evicted_checkpoints +
                                           prefix.rolled_checkpoints + prefix.dropped_checkpoints +
                                           prefix.cleared_checkpoints);
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_REUSE_REPLAY_H_
