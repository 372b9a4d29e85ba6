#include "tools/terrace/trace/workload.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::kHashBlockTokens;
using tools::MakeWorkload;
using tools::TraceRequest;
using tools::WorkloadOptions;

std::vector<TraceRequest> Make(const WorkloadOptions& options) {
  auto requests = MakeWorkload(options);
  EXPECT_TRUE(requests.ok()) << requests.status();
  return *std::move(requests);
}

TEST(WorkloadTest, TheSameSeedGivesTheSameRequestsAndAnotherOneOthers) {
  const auto same = [](const std::vector<TraceRequest>& a, const std::vector<TraceRequest>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const TraceRequest& x, const TraceRequest& y) {
                        return x.arrival_ms == y.arrival_ms && x.input_length == y.input_length &&
                               x.output_length == y.output_length && x.hash_ids == y.hash_ids;
                      });
  };
  EXPECT_TRUE(same(Make({.seed = 7}), Make({.seed = 7})));
  EXPECT_FALSE(same(Make({.seed = 7}), Make({.seed = 8})));
}

TEST(WorkloadTest, HasTheShapeOfTheConversationTrace) {
  const std::vector<TraceRequest> requests = Make({.requests = 4000});
  ASSERT_EQ(requests.size(), 4000);
  double input = 0;
  double output = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const TraceRequest& request = requests[i];
    EXPECT_GE(request.input_length, 1);
    EXPECT_LE(request.input_length, 126000);
    EXPECT_GE(request.output_length, 1);
    EXPECT_LE(request.output_length, 2000);
    EXPECT_EQ(request.hash_ids.size(),
              (request.input_length + kHashBlockTokens - 1) / kHashBlockTokens);
    EXPECT_GE(request.arrival_ms, requests[i > 0 ? i - 1 : 0].arrival_ms);
    input += request.input_length;
    output += request.output_length;
  }
  EXPECT_NEAR(input / 4000, 12000, 3000);  // the trace: 12,035
  EXPECT_NEAR(output / 4000, 343, 60);     // the trace: 343
  EXPECT_NEAR(4000 / (requests.back().arrival_ms / 1000), 3.4, 0.3);
}

TEST(WorkloadTest, ConversationsComeBackWithWhatWasSaid) {
  const std::vector<TraceRequest> requests = Make({.requests = 400});
  int64_t shared = 0;
  int64_t blocks = 0;
  int64_t newest = 0;
  for (const TraceRequest& request : requests) {
    for (int64_t id : request.hash_ids) {
      shared += id <= newest;
      newest = std::max(newest, id);
      ++blocks;
    }
  }
  EXPECT_GT(shared, blocks / 5);
  EXPECT_LT(shared, blocks / 2);
}

TEST(WorkloadTest, NumbersThatAreNotPositiveAreErrors) {
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload({.requests = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload({.requests_per_second = -1}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload({.requests_per_second = 1e-300}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload({.longest_prompt = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      MakeWorkload({.prompt_median = std::numeric_limits<double>::quiet_NaN()}).status()));
}

}  // namespace
}  // namespace terrace::testing
