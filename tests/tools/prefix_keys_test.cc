#include "tools/terrace/trace/prefix_keys.h"

#include <cstdint>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/model.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/trace.h"
#include "tools/terrace/verify/expected_rows.h"

namespace terrace::testing {
namespace {

using tools::ContentKey;
using tools::ContentPlane;
using tools::ContentSeed;
using tools::ContentSequence;
using tools::ExpectedSeed;
using tools::PrefixKeys;
using tools::RejectedKey;
using tools::StepSequence;
using tools::TraceRequest;

// The first two share a block and a half; the third has another first block; the fourth no ids.
std::vector<TraceRequest> Requests() {
  return {{.input_length = 1400, .output_length = 100, .hash_ids = {3, 4, 5}},
          {.input_length = 800, .output_length = 100, .hash_ids = {3, 4}},
          {.input_length = 1400, .output_length = 100, .hash_ids = {2, 4, 5}},
          {.input_length = 1400, .output_length = 100}};
}

TEST(PrefixKeysTest, EqualPrefixesHaveEqualKeysUpToWhereTheyPart) {
  const PrefixKeys keys(Requests());
  for (int32_t last : {0, 1, 511, 512, 700, 799}) {
    EXPECT_EQ(keys.Of(0, last), keys.Of(1, last)) << last;
  }
  for (int32_t last : {800, 801, 1023, 1024, 1399, 1400, 1450}) {
    EXPECT_NE(keys.Of(0, last), keys.Of(1, last)) << last;
  }
}

TEST(PrefixKeysTest, AnotherFirstBlockChangesAllThatComesAfter) {
  const PrefixKeys keys(Requests());
  for (int32_t last : {0, 511, 512, 1023, 1024, 1399}) {
    EXPECT_NE(keys.Of(0, last), keys.Of(2, last)) << last;
    EXPECT_NE(keys.Of(0, last), keys.Of(3, last)) << last;
  }
}

TEST(PrefixKeysTest, GeneratedTokensAreTheRequestsOwn) {
  const std::vector<TraceRequest> twins(2, Requests()[0]);
  const PrefixKeys keys(twins);
  EXPECT_EQ(keys.Of(0, 1399), keys.Of(1, 1399));
  EXPECT_NE(keys.Of(0, 1400), keys.Of(1, 1400));
  EXPECT_NE(keys.Of(0, 1400), keys.Of(0, 1399));
}

// What a step fills is found from its sequence's first key alone; what must be there is looked up
// by request and position.
TEST(PrefixKeysTest, FilledAndExpectedContentsAgree) {
  const std::vector<TraceRequest> requests = Requests();
  const PrefixKeys keys(requests);
  PoolSpec csa;
  csa.ratio = 4;
  const ContentPlane plane{1, 2, 0};
  for (int32_t request = 0; request < 4; ++request) {
    const StepSequence part{
        .request = request, .sequence = 9, .first = 300, .count = 1203, .drafts = 3, .accepted = 1};
    const PrefixKeys::Request& parts = keys.request(request);
    const ContentSequence content{.first_key = parts.first_key,
                                  .own_key = parts.own,
                                  .rejected_key = RejectedKey(parts.own, part.sequence, part.first),
                                  .own_from = parts.own_from,
                                  .keep_end = part.keep_end()};
    for (int32_t position = 300; position + 3 < part.first + part.count; position += 4) {
      const uint64_t key = ContentKey(content, keys.all().data(), position + 3);
      ASSERT_EQ(ContentSeed(key, position, plane), ExpectedSeed(csa, plane, keys, part, position))
          << request << " " << position;
    }
  }
}

TEST(PrefixKeysTest, WhatWillBeTakenBackDiffersFromAllElseInItsPlace) {
  const std::vector<TraceRequest> requests = Requests();
  const PrefixKeys keys(requests);
  PoolSpec swa;
  swa.kind = PoolKind::kWindow;
  std::set<uint64_t> seeds;
  const auto seed = [&](uint64_t sequence, int32_t first, int32_t accepted) {
    const StepSequence part{.request = 1,
                            .sequence = sequence,
                            .first = first,
                            .count = 4,
                            .drafts = 3,
                            .accepted = accepted};
    return ExpectedSeed(swa, {0, 0, 0}, keys, part, 852);
  };
  EXPECT_TRUE(seeds.insert(seed(7, 850, 3)).second);   // stays
  EXPECT_TRUE(seeds.insert(seed(7, 850, 0)).second);   // goes
  EXPECT_TRUE(seeds.insert(seed(7, 851, 0)).second);   // goes, of another step
  EXPECT_TRUE(seeds.insert(seed(8, 850, 0)).second);   // of the request's second run
  EXPECT_FALSE(seeds.insert(seed(8, 851, 3)).second);  // stays: the same tokens
}

}  // namespace
}  // namespace terrace::testing
