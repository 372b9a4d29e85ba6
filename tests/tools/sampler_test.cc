#include "tools/terrace/verify/sampler.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/model.h"
#include "tests/tools/flash_model.h"
#include "tools/terrace/engine/step_runner.h"

namespace terrace::testing {
namespace {

using tools::SampledQuery;
using tools::Sampler;
using tools::StepSequence;

TEST(SamplerTest, PicksTheFirstAndTheLastQueryAndOneAfterARollback) {
  std::vector<StepSequence> sequences(6);
  for (int i = 0; i < 6; ++i) sequences[i] = {.first = 100 * i, .count = 3, .drafts = 2};
  sequences[4].taken_back_begin = 398;
  sequences[4].taken_back_end = 400;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Sampler sampler(Flash(), 1, seed);
    ASSERT_TRUE(sampler.NextStep());
    std::vector<SampledQuery> queries;
    sampler.PickQueries(sequences, &queries);
    std::set<int32_t> rows;
    for (const SampledQuery& query : queries) {
      EXPECT_EQ(query.sequence_index, query.token_row / 3);
      EXPECT_EQ(query.position, 100 * query.sequence_index + query.token_row % 3);
      EXPECT_TRUE(rows.insert(query.token_row).second) << "picked twice";
    }
    EXPECT_LE(rows.size(), Sampler::kMostQueries);
    EXPECT_THAT(rows, ::testing::IsSupersetOf({0, 12, 14, 17}));
  }
}

TEST(SamplerTest, PicksTheFirstQueryOfASequenceThatResumes) {
  std::vector<StepSequence> sequences(6);
  for (int i = 0; i < 6; ++i) sequences[i] = {.first = 256 * i, .count = 3};
  sequences[2].shared = {.resumed_at = 512, .write_from = 512};
  sequences[3].shared = {.resumed_at = 512, .write_from = 512};  // some steps ago
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Sampler sampler(Flash(), 1, seed);
    ASSERT_TRUE(sampler.NextStep());
    std::vector<SampledQuery> queries;
    sampler.PickQueries(sequences, &queries);
    EXPECT_TRUE(std::any_of(queries.begin(), queries.end(), [](const SampledQuery& query) {
      return query.token_row == 6 && query.position == 512;
    }));
  }
}

TEST(SamplerTest, PicksEntriesOnBothSidesOfWhereTheSharedChunksEnd) {
  Sampler sampler(Flash(), 1, 3);
  ASSERT_TRUE(sampler.NextStep());
  const StepSequence part{.first = 70000, .count = 1, .shared = {.write_from = 65536}};
  std::vector<int32_t> entries(64);
  sampler.PickEntries(Pool("csa"), part, {.position = 70000}, absl::MakeSpan(entries));
  EXPECT_THAT(entries, ::testing::Contains(16383));
  EXPECT_THAT(entries, ::testing::Contains(16384));
}

TEST(SamplerTest, PicksEntriesInSightNoneTwice) {
  Sampler sampler(Flash(), 1, 3);
  ASSERT_TRUE(sampler.NextStep());
  const PoolSpec& csa = Pool("csa");
  for (int32_t position : {0, 2, 3, 4, 250, 255, 256, 1023, 70000}) {
    const StepSequence part{.first = position,
                            .count = 1,
                            .taken_back_begin = position,
                            .taken_back_end = position + 2};
    const SampledQuery query{.position = position};
    std::vector<int32_t> entries(64);
    sampler.PickEntries(csa, part, query, absl::MakeSpan(entries));
    const int32_t in_sight = (position + 1) / 4;
    std::set<int32_t> seen;
    for (int32_t entry : entries) {
      if (entry == -1) continue;
      EXPECT_GE(entry, 0);
      EXPECT_LT(entry, in_sight);
      EXPECT_TRUE(seen.insert(entry).second) << entry << " twice";
    }
    if (in_sight <= 64) {
      EXPECT_EQ(static_cast<int32_t>(seen.size()), in_sight);
    } else {
      EXPECT_TRUE(seen.contains(0) && seen.contains(in_sight - 1));
      const int64_t on_border = std::count_if(
          seen.begin(), seen.end(), [](int32_t e) { return e % 64 == 0 || e % 64 == 63; });
      EXPECT_GT(on_border, 5);
    }
  }
}

}  // namespace
}  // namespace terrace::testing
