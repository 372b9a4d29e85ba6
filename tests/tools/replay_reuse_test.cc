// How much of a workload's prompts a replay reuses, held against a serial LRU.

#include <cstdint>

#include "gtest/gtest.h"
#include "terrace/units.h"
#include "tests/tools/reuse_fixture.h"
#include "tests/tools/reuse_replay.h"
#include "tests/tools/serial_lru.h"
#include "tools/terrace/engine/replay.h"

namespace terrace::testing {
namespace {

class ReuseTest : public ReuseFixture {};

TEST_F(ReuseTest, OneByOneEveryChunkThatWasSeenIsMatched) {
  ReplayOptions options = UnboundedOptions();
  options.scheduler.serial = true;
  const ReplayResult result = ReplayAll(Workload(), options);
  EXPECT_EQ(result.prefix.matched_tokens, SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GT(result.prefix.matched_tokens, result.prefix.prompt_tokens / 4);
  EXPECT_EQ(result.prefix.evicted_chunks, 0);
  ExpectSumsAddUp(result);
}

TEST_F(ReuseTest, SideBySideNearlyAllOfItIs) {
  const ReplayResult result = ReplayAll(Workload(), UnboundedOptions());
  EXPECT_GE(result.prefix.matched_tokens, 0.96 * SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GE(result.prefix.saved_tokens(), 0.88 * result.prefix.matched_tokens);
  ExpectSumsAddUp(result);
}

TEST_F(ReuseTest, SmallMemoryKeepsWhatAnLruOfWhatIsLeftWouldKeep) {
  ReplayOptions options = UnboundedOptions();
  options.memory_bytes = 8 * kGiB;
  const ReplayResult result = ReplayAll(Workload(), options);
  const int64_t reference = SerialLru::Matched(Workload(), ChunksLeft(result));
  EXPECT_LT(reference, SerialLru::Matched(Workload(), kUnbounded));
  EXPECT_GE(result.prefix.matched_tokens, 0.95 * reference);
  EXPECT_GT(result.prefix.evicted_chunks, 0);
  EXPECT_EQ(result.scheduler.preemptions, 0);  // else matches of one prompt count twice
  ExpectSumsAddUp(result);
}

}  // namespace
}  // namespace terrace::testing
