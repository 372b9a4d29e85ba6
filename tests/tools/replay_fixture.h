// Replays of a small workload over every backend that the machine has.

#ifndef TERRACE_TESTS_TOOLS_REPLAY_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_REPLAY_FIXTURE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"
#include "terrace/model.h"
#include "terrace/units.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/trace/trace.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::testing {

using tools::MakeWorkload;
using tools::Replay;
using tools::ReplayOptions;
using tools::ReplayResult;
using tools::TraceRequest;

inline std::vector<TraceRequest> SmallWorkload(int32_t requests = 24) {
  auto made = MakeWorkload({.requests = requests,
                            .requests_per_second = 20,
                            .prompt_median = 900,
                            .longest_prompt = 5000,
                            .output_median = 60});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

class ReplayFixture : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    const auto backend = MakeBackend({.kind = GetParam()});
    if (!backend.ok()) GTEST_SKIP() << backend.status();
  }

  ReplayOptions Options() const {
    ReplayOptions options;
    options.model = DeepSeekV4Flash();
    options.memory_bytes = 400 * kMiB;
    options.scheduler = {.step_tokens = 2048, .sequences = 12, .check_every = 16};
    options.backend = {.kind = GetParam(), .host_threads = 2};
    options.layers = "1-5";
    options.verifier.rate = 1;
    return options;
  }

  ReplayResult Run(const ReplayOptions& options, int32_t requests = 24) const {
    const std::vector<TraceRequest> workload = SmallWorkload(requests);
    auto result = Replay(workload, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : ReplayResult{};
  }

  static void ExpectRight(const ReplayResult& result) {
    EXPECT_TRUE(result.ok());
    EXPECT_EQ(result.scheduler.completed, result.scheduler.requests);
    EXPECT_GT(result.verifier.verified_rows, 10000);
    EXPECT_THAT(result.verifier.first_corrupt, ::testing::IsEmpty());
    EXPECT_EQ(result.leaked_blocks, 0);
  }
};

inline std::string ReplayBackendName(const ::testing::TestParamInfo<BackendKind>& info) {
  return info.param == BackendKind::kCuda ? "cuda" : "host";
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_REPLAY_FIXTURE_H_
