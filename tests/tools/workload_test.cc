#include "tools/terrace/trace/workload.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::testing {
namespace {

using tools::FillTokenIds;
using tools::kHashBlockTokens;
using tools::MakeWorkload;
using tools::TokenId;
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
  EXPECT_TRUE(absl::IsInvalidArgument(MakeWorkload({.longest_prompt = 0}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      MakeWorkload({.prompt_median = std::numeric_limits<double>::quiet_NaN()}).status()));
}

TEST(TokenIdsTest, EqualHashIdsGiveEqualTokensAndOthersDoNot) {
  const TraceRequest a{.input_length = 1024, .hash_ids = {3, 4}};
  const TraceRequest b{.input_length = 1100, .hash_ids = {3, 5, 6}};
  std::vector<int32_t> of_a, of_b;
  FillTokenIds(a, 0, 1024, of_a);
  FillTokenIds(b, 1, 1100, of_b);
  EXPECT_TRUE(std::equal(of_a.begin(), of_a.begin() + 512, of_b.begin()));
  int equal = 0;
  for (int i = 512; i < 1024; ++i) equal += of_a[i] == of_b[i];
  EXPECT_LT(equal, 5);
}

TEST(TokenIdsTest, OneIdAtATimeIsTheSameAsAllAtOnce) {
  for (const TraceRequest& request :
       {TraceRequest{.input_length = 700, .hash_ids = {8, 9}}, TraceRequest{.input_length = 700}}) {
    std::vector<int32_t> ids;
    FillTokenIds(request, 5, 1300, ids);  // 600 of them generated
    for (int32_t i = 0; i < 1300; ++i) {
      ASSERT_EQ(ids[i], TokenId(request, 5, i)) << i;
      ASSERT_GE(ids[i], 0);
      ASSERT_LT(ids[i], 129280);
    }
  }
}

}  // namespace
}  // namespace terrace::testing
