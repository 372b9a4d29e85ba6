// Replays of a ledger without data.

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "terrace/model.h"
#include "tests/tools/replay_fixture.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

TEST(ReplayWithoutDataTest, TenTebibytesCostNothing) {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = int64_t{10} << 40;
  options.with_data = false;
  const std::vector<TraceRequest> workload = SmallWorkload();
  const auto result = Replay(workload, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->ok());
  EXPECT_EQ(result->scheduler.completed, 24);
  EXPECT_GT(result->capacity.max_tokens, 2'000'000'000);
}

TEST(ReplayWithoutDataTest, ImpossibleMemoryIsAnError) {
  ReplayOptions options;
  options.model = DeepSeekV4Flash();
  options.memory_bytes = 1000;
  options.with_data = false;
  const auto result = Replay(SmallWorkload(), options);
  EXPECT_TRUE(absl::IsOutOfRange(result.status())) << result.status();
}

}  // namespace
}  // namespace terrace::testing
