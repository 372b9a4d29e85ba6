#include "tools/terrace/trace/token_ids.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::FillTokenIds;
using tools::TokenId;
using tools::TraceRequest;

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
