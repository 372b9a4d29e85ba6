// How much of an hour of a real chat service a replay reuses. These tests run where the environment
// variable TERRACE_TRACE names its file.

#include <cstdlib>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/units.h"
#include "tests/tools/reuse_replay.h"
#include "tests/tools/serial_lru.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::ReadTrace;

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
  ReplayOptions options = UnboundedOptions();
  options.scheduler.serial = true;
  const ReplayResult result = ReplayAll(trace_, options);
  EXPECT_EQ(result.prefix.prompt_tokens, 144'793'823);
  EXPECT_EQ(result.prefix.matched_tokens, 54'082'048);
}

TEST_F(ConversationTraceTest, SideBySideNearlyAllOfItIs) {
  const ReplayResult result = ReplayAll(trace_, UnboundedOptions());
  EXPECT_GE(result.prefix.matched_tokens, 0.96 * 54'082'048);
  EXPECT_GE(result.prefix.saved_tokens(), 0.88 * result.prefix.matched_tokens);
  ExpectSumsAddUp(result);
}

TEST_F(ConversationTraceTest, FortyGibibytesKeepWhatAnLruOfWhatIsLeftWouldKeep) {
  ReplayOptions options = UnboundedOptions();
  options.memory_bytes = 40 * kGiB;
  const ReplayResult result = ReplayAll(trace_, options);
  EXPECT_GE(result.prefix.matched_tokens, 0.95 * SerialLru::Matched(trace_, ChunksLeft(result)));
  EXPECT_EQ(result.scheduler.preemptions, 0);
  ExpectSumsAddUp(result);
}

}  // namespace
}  // namespace terrace::testing
