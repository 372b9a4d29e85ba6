#include "tools/terrace/verify/sampler.h"

#include <algorithm>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/terrace/engine/layer_range.h"

namespace terrace::testing {
namespace {

using tools::ContentPlane;
using tools::EntriesInSight;
using tools::ExpectedSeed;
using tools::MustHoldWindowRow;
using tools::OneLayerOfEachKind;
using tools::ParseLayers;
using tools::PrefixKeys;
using tools::RowClass;
using tools::SampledQuery;
using tools::Sampler;
using tools::StepSequence;
using tools::TraceRequest;

const ModelSpec& Flash() {
  static const ModelSpec model = DeepSeekV4Flash();
  return model;
}
const PoolSpec& Pool(const char* name) {
  return *std::find_if(Flash().pools.begin(), Flash().pools.end(),
                       [&](const PoolSpec& pool) { return pool.name == name; });
}

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

TEST(SamplerTest, ClassesAreWhatTheySay) {
  const Sampler sampler(Flash(), 1, 1);
  const PoolSpec& swa = Pool("swa");
  const StepSequence decode{.first = 1000, .count = 1};
  const SampledQuery query{.position = 1000};
  const auto window = [&](const StepSequence& part, int32_t position) {
    return sampler.ClassOfWindowRow(swa, part, query, position);
  };
  EXPECT_EQ(window(decode, 1000), RowClass::kWindow);
  EXPECT_EQ(window(decode, 873), RowClass::kWindow);
  EXPECT_EQ(window(decode, 896), RowClass::kBlock);  // 14 * 64
  EXPECT_EQ(window(decode, 959), RowClass::kBlock);
  EXPECT_EQ(window(decode, 900), RowClass::kInterior);
  const SampledQuery early{.position = 300};
  EXPECT_EQ(sampler.ClassOfWindowRow(swa, {.first = 300, .count = 1}, early, 255),
            RowClass::kChunk);

  const StepSequence drafting{.first = 1000, .count = 3, .drafts = 2, .accepted = 1};
  EXPECT_EQ(window(drafting, 1002), RowClass::kRollback);  // will be taken back
  EXPECT_EQ(window(drafting, 1001), RowClass::kRollback);  // the last that stays
  const StepSequence after{
      .first = 1000, .count = 1, .taken_back_begin = 990, .taken_back_end = 992};
  EXPECT_EQ(window(after, 988), RowClass::kInterior);
  EXPECT_EQ(window(after, 989), RowClass::kRollback);
  EXPECT_EQ(window(after, 991), RowClass::kRollback);
  EXPECT_EQ(window(after, 992), RowClass::kInterior);

  const PoolSpec& csa = Pool("csa");
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 64), RowClass::kChunk);
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 127), RowClass::kChunk);
  EXPECT_EQ(sampler.ClassOfEntry(csa, decode, 100), RowClass::kInterior);
  EXPECT_EQ(sampler.ClassOfEntry(csa, after, 247), RowClass::kRollback);  // tokens 988..991
  EXPECT_EQ(sampler.ClassOfEntry(csa, after, 246), RowClass::kInterior);

  const StepSequence resumed{
      .first = 1000, .count = 1, .shared = {.resumed_at = 900, .write_from = 768}};
  EXPECT_EQ(window(resumed, 899), RowClass::kShared);
  EXPECT_EQ(window(resumed, 900), RowClass::kInterior);
  EXPECT_EQ(sampler.ClassOfEntry(csa, resumed, 191), RowClass::kShared);
  EXPECT_EQ(sampler.ClassOfEntry(csa, resumed, 192), RowClass::kChunk);
}

TEST(ExpectedRowsTest, TheWindowHoldsWhatALaterStepCanSee) {
  const StepSequence prefill{.first = 0, .count = 1000};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, prefill, 872));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, prefill, 873));  // the next query's oldest
  EXPECT_TRUE(MustHoldWindowRow(Flash(), true, prefill, 0));
  const StepSequence drafts{.first = 1000, .count = 5, .drafts = 4};
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, drafts, 874));
}

TEST(ExpectedRowsTest, AReplayWithoutCheckpointHasNoWindowBeforeItBegan) {
  const StepSequence part{.first = 1024, .count = 300, .shared = {.window_from = 1024}};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, part, 1023));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, part, 1323));
  const StepSequence later{.first = 1100, .count = 1, .shared = {.window_from = 1024}};
  EXPECT_FALSE(MustHoldWindowRow(Flash(), false, later, 1023));
  EXPECT_TRUE(MustHoldWindowRow(Flash(), false, later, 1024));
}

TEST(ExpectedRowsTest, RejectedRowsHaveOtherContents) {
  const PrefixKeys keys({TraceRequest{.input_length = 990, .output_length = 50}});
  const PoolSpec& csa = Pool("csa");
  const StepSequence kept{.sequence = 7, .first = 1000, .count = 4, .drafts = 3, .accepted = 3};
  const StepSequence rejected{.sequence = 7, .first = 1000, .count = 4, .drafts = 3, .accepted = 2};
  const ContentPlane plane{1, 0, 0};
  const auto seed = [&](const StepSequence& part, int32_t position) {
    return ExpectedSeed(csa, plane, keys, part, position);
  };
  EXPECT_NE(seed(kept, 1000), seed(rejected, 1000));
  EXPECT_EQ(seed(kept, 996), seed(rejected, 996));
}

TEST(ExpectedRowsTest, EntriesInSightFollowTheRule) {
  PoolSpec pool = Pool("csa");
  EXPECT_EQ(EntriesInSight(pool, 2), 0);
  EXPECT_EQ(EntriesInSight(pool, 3), 1);
  pool.rule = EntryRule::kStrided;
  EXPECT_EQ(EntriesInSight(pool, 0), 1);
  EXPECT_EQ(EntriesInSight(pool, 3), 1);
  EXPECT_EQ(EntriesInSight(pool, 4), 2);
}

TEST(LayerRangeTest, TheShortestRunHasOneLayerOfEachKind) {
  const LayerRange flash = OneLayerOfEachKind(DeepSeekV4Flash());
  EXPECT_EQ(flash.first, 1);
  EXPECT_EQ(flash.count, 3);
  const LayerRange pro = OneLayerOfEachKind(DeepSeekV4Pro());
  EXPECT_EQ(pro.first, 1);
  EXPECT_EQ(pro.count, 2);
}

TEST(LayerRangeTest, ReadsWhatPeopleWrite) {
  const auto range = [](const char* text) {
    const auto layers = ParseLayers(text, DeepSeekV4Flash());
    return layers.ok() ? std::make_pair(layers->first, layers->count) : std::make_pair(-1, -1);
  };
  EXPECT_EQ(range("all"), std::make_pair(0, 43));
  EXPECT_EQ(range("7"), std::make_pair(7, 1));
  EXPECT_EQ(range("1-3"), std::make_pair(1, 3));
  for (const char* bad : {"", "43", "3-1", "-1", "1-2-3", "x", "1-", "0-43"}) {
    EXPECT_EQ(range(bad), std::make_pair(-1, -1)) << bad;
  }
}

}  // namespace
}  // namespace terrace::testing
