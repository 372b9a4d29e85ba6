// How much of a workload's prompts a replay reuses, held against a serial LRU. The tests of the
// conversation trace run where the environment variable TERRACE_TRACE names its file.

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/units.h"
#include "tests/tools/serial_lru.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::testing {
namespace {

using tools::MakeWorkload;
using tools::ReadTrace;
using tools::Replay;
using tools::ReplayOptions;
using tools::ReplayResult;
using tools::TraceRequest;

constexpr int64_t kUnbounded = std::numeric_limits<int64_t>::max();

// The ledger alone, with memory that never evicts.
ReplayOptions Options() {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = 1024 * kGiB;
  options.with_data = false;
  return options;
}

ReplayResult ReplayAll(const std::vector<TraceRequest>& requests, const ReplayOptions& options) {
  auto result = Replay(requests, options);
  EXPECT_TRUE(result.ok()) << result.status();
  if (!result.ok()) return {};
  EXPECT_EQ(result->scheduler.completed, static_cast<int64_t>(requests.size()));
  EXPECT_EQ(result->leaked_blocks, 0);
  return *std::move(result);
}

// Chunks that the peak of live sequences leaves to prefixes.
int64_t ChunksLeft(const ReplayResult& result) {
  int64_t left = kUnbounded;
  for (int p = 0; p < result.capacity.geometry.num_pools; ++p) {
    const PoolGeometry& pool = result.capacity.geometry.pools[p];
    if (pool.kind != PoolKind::kFull) continue;
    left = std::min<int64_t>(left, pool.capacity_blocks - result.occupancy.peak()[p]);
  }
  return left;
}

void ExpectSumsAddUp(const ReplayResult& result) {
  const PrefixFigures& prefix = result.prefix;
  EXPECT_EQ(prefix.matched_tokens,
            prefix.resumed_tokens + prefix.skipped_tokens + prefix.refed_tokens);
  EXPECT_EQ(prefix.stored_chunks, prefix.indexed_chunks + prefix.evicted_chunks +
                                      prefix.expired_chunks + prefix.cleared_chunks);
  EXPECT_EQ(prefix.stored_checkpoints, prefix.held_checkpoints + prefix.evicted_checkpoints +
                                           prefix.rolled_checkpoints + prefix.dropped_checkpoints +
                                           prefix.cleared_checkpoints);
}

class ReuseTest : public ::testing::Test {
 protected:
  static const std::vector<TraceRequest>& Workload() {
    static const std::vector<TraceRequest> requests = [] {
      auto made = MakeWorkload({.requests = 1000});
      EXPECT_TRUE(made.ok()) << made.status();
      return *std::move(made);
    }();
    return requests;
  }
};

TEST_F(ReuseTest, OneByOneEveryChunkThatWasSeenIsMatched) {
  ReplayOptions options = Options();
  options.scheduler.serial = true;
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.matched_tokens, SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GT(result.prefix.matched_tokens, result.prefix.prompt_tokens / 4);
  EXPECT_EQ(result.prefix.evicted_chunks, 0);
  ExpectSumsAddUp(result);
}

TEST_F(ReuseTest, SideBySideNearlyAllOfItIs) {
  const ReplayResult result = ReplayAll(Workload(), Options());
  EXPECT_GE(result.prefix.matched_tokens, 0.96 * SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GE(result.prefix.saved_tokens(), 0.88 * result.prefix.matched_tokens);
  ExpectSumsAddUp(result);
}

TEST_F(ReuseTest, SmallMemoryKeepsWhatAnLruOfWhatIsLeftWouldKeep) {
  ReplayOptions options = Options();
  options.memory_bytes = 8 * kGiB;
  const ReplayResult result = ReplayAll(Workload(), options);
  const int64_t reference = SerialLru::Matched(Workload(), ChunksLeft(result));
  EXPECT_LT(reference, SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GE(result.prefix.matched_tokens, 0.95 * reference);
  EXPECT_GT(result.prefix.evicted_chunks, 0);
  EXPECT_EQ(result.scheduler.preemptions, 0);  // else matches of one prompt count twice
  ExpectSumsAddUp(result);
}

TEST_F(ReuseTest, WithoutReuseNothingIsMatchedNorHeld) {
  ReplayOptions options = Options();
  options.prefix.enabled = false;
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.matched_tokens, 0);
  EXPECT_EQ(result.prefix.stored_chunks, 0);
  EXPECT_EQ(result.checkpoint_bytes_peak, 0);
}

TEST_F(ReuseTest, WithoutCheckpointsEveryMatchIsReplayed) {
  ReplayOptions options = Options();
  options.prefix.checkpoints = CheckpointPolicy::None();
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.resumed_tokens, 0);
  EXPECT_EQ(result.prefix.stored_checkpoints, 0);
  EXPECT_GT(result.prefix.skipped_tokens, 0);
}

TEST_F(ReuseTest, AMatchBeyondTheReplayLimitFallsBackToACheckpoint) {
  ReplayOptions options = Options();
  options.scheduler.serial = true;
  options.scheduler.refeed.max_tokens = 0;
  options.scheduler.step_tokens = 131072;  // a prompt is one step
  const PrefixFigures with_checkpoints = ReplayAll(Workload(), options).prefix;
  EXPECT_GT(with_checkpoints.matched_tokens, 0);
  EXPECT_EQ(with_checkpoints.matched_tokens, with_checkpoints.resumed_tokens);
  options.prefix.checkpoints = CheckpointPolicy::None();
  EXPECT_EQ(ReplayAll(Workload(), options).prefix.matched_tokens, 0);
}

TEST_F(ReuseTest, ApproximateReplayFeedsLess) {
  ReplayOptions options = Options();
  options.prefix.checkpoints = CheckpointPolicy::None();
  options.scheduler.serial = true;
  const ReplayResult exact = ReplayAll(Workload(), options);
  options.scheduler.refeed.approximate_tokens = 256;
  const ReplayResult approximate = ReplayAll(Workload(), options);
  EXPECT_LT(approximate.prefix.refed_tokens, exact.prefix.refed_tokens / 4);
  // What is approximate is not published.
  EXPECT_LT(approximate.prefix.stored_chunks, exact.prefix.stored_chunks);
}

TEST(SerialLruTest, MatchesWholeChunksAndLeavesATokenToCompute) {
  SerialLru lru(kUnbounded);
  const auto serve = [&](int32_t tokens, std::vector<int64_t> ids) {
    return lru.Serve({.input_length = tokens, .hash_ids = std::move(ids)});
  };
  EXPECT_EQ(serve(1024, {1, 2}), 0);
  EXPECT_EQ(serve(1024, {1, 2}), 768);
  EXPECT_EQ(serve(1025, {1, 2, 9}), 1024);
  EXPECT_EQ(serve(1000, {1, 2}), 768);
  EXPECT_EQ(serve(1200, {1, 7, 8}), 512);
  EXPECT_EQ(serve(1200, {5, 2, 9}), 0);
  EXPECT_EQ(serve(256, {1}), 0);
}

TEST(SerialLruTest, TheEndOfTheOldestPromptGoesFirst) {
  SerialLru lru(6);
  const auto serve = [&](std::vector<int64_t> ids) {
    return lru.Serve({.input_length = 1025, .hash_ids = std::move(ids)});
  };
  EXPECT_EQ(serve({1, 2, 0}), 0);
  EXPECT_EQ(serve({3, 4, 0}), 0);    // the last two chunks of the first prompt go
  EXPECT_EQ(serve({1, 2, 0}), 512);  // ... and now those of the second
  EXPECT_EQ(serve({1, 2, 0}), 1024);
  EXPECT_EQ(serve({3, 4, 0}), 512);
}

// An hour of a real chat service.
class ConversationTraceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("TERRACE_TRACE");
    if (path == nullptr) {
      GTEST_SKIP() << "TERRACE_TRACE names no file; give it mooncake_conversation.jsonl";
    }
    auto trace = ReadTrace(path);
    ASSERT_TRUE(trace.ok()) << trace.status();
    trace_ = *std::move(trace);
  }

  std::vector<TraceRequest> trace_;
};

TEST_F(ConversationTraceTest, TheReferenceMatchesWhatIsKnownOfTheTrace) {
  EXPECT_EQ(SerialLru::Matched(trace_, kUnbounded), 54'082'048);
  EXPECT_EQ(SerialLru::Matched(trace_, 10'000'000 / SerialLru::kChunkTokens), 42'711'552);
}

TEST_F(ConversationTraceTest, OneByOneEveryChunkThatWasSeenIsMatched) {
  ReplayOptions options = Options();
  options.scheduler.serial = true;
  const ReplayResult result = ReplayAll(trace_, options);
  EXPECT_EQ(result.prefix.prompt_tokens, 144'793'823);
  EXPECT_EQ(result.prefix.matched_tokens, 54'082'048);
}

TEST_F(ConversationTraceTest, SideBySideNearlyAllOfItIs) {
  const ReplayResult result = ReplayAll(trace_, Options());
  EXPECT_GE(result.prefix.matched_tokens, 0.96 * 54'082'048);
  EXPECT_GE(result.prefix.saved_tokens(), 0.88 * result.prefix.matched_tokens);
  ExpectSumsAddUp(result);
}

TEST_F(ConversationTraceTest, FortyGibibytesKeepWhatAnLruOfWhatIsLeftWouldKeep) {
  ReplayOptions options = Options();
  options.memory_bytes = 40 * kGiB;
  const ReplayResult result = ReplayAll(trace_, options);
  EXPECT_GE(result.prefix.matched_tokens, 0.95 * SerialLru::Matched(trace_, ChunksLeft(result)));
  EXPECT_EQ(result.scheduler.preemptions, 0);
  ExpectSumsAddUp(result);
}

}  // namespace
}  // namespace terrace::testing
