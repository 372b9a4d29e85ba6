#include "terrace/capacity.h"

#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/units.h"
#include "tests/support/row_formats.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

// The plan's parts, added up one by one.
int64_t SumOfParts(const CapacityPlan& plan) {
  int64_t bytes = plan.table_bytes + plan.unused_bytes;
  for (const PoolBudget& pool : plan.pools) {
    bytes += pool.blocks * pool.place.reserved_bytes_per_block();
  }
  return bytes;
}

TEST(CapacityTest, FlashCosts3850UsefulBytesATokenAnd3MiBASequence) {
  const CapacityPlan plan =
      PlanCapacity({.model = DeepSeekV4Flash(), .memory_bytes = 40 * kGiB, .prefix_reuse = false})
          .value();
  EXPECT_DOUBLE_EQ(plan.useful_bytes_per_token, 3850.25);  // 21 (584+132)/4 + 20 584/128
  EXPECT_EQ(plan.useful_fixed_bytes_per_sequence, 128 * 584 * 43);
  EXPECT_NEAR(static_cast<double>(plan.useful_fixed_bytes_per_sequence) / kMiB, 3.07, 0.005);
  EXPECT_DOUBLE_EQ(plan.marginal_bytes_per_token, (962496 + 24192) / 256.0);
  EXPECT_EQ(SumOfParts(plan), 40 * kGiB);
  EXPECT_EQ(plan.pools[1].blocks, plan.pools[2].blocks);
  EXPECT_EQ(plan.max_tokens, int64_t{plan.pools[1].blocks} * 256);
  EXPECT_EQ(plan.pools[0].blocks, 64 * (3 + 3));  // the old and the new window of 127 rows each
  EXPECT_EQ(plan.pools[3].blocks, 0);             // nobody resumes, so no overlap rows are kept
  EXPECT_EQ(plan.checkpoints, 0);
  EXPECT_EQ(plan.checkpoint_bytes, 0);
}

TEST(CapacityTest, ACheckpointOfFlashTakesLittleWithAnyWindowBlock) {
  for (int32_t block = 1; block <= 128; block *= 2) {
    LayeredModelOptions options = ModelOptionsByName("deepseek-v4-flash").value();
    options.swa_block_tokens = block;
    const CapacityPlan plan =
        PlanCapacity({.model = MakeModel(options).value(), .memory_bytes = 40 * kGiB}).value();
    EXPECT_LE(static_cast<double>(plan.checkpoint_bytes), 3.7 * kMiB) << block;
    EXPECT_EQ(plan.useful_checkpoint_bytes, 127 * 584 * 43 + 21 * 20480);
    // The blocks of the last 127 rows before the boundary, and one of the overlap pool.
    EXPECT_EQ(plan.checkpoint_bytes,
              (127 + block - 1) / block * plan.pools[0].place.reserved_bytes_per_block() +
                  plan.pools[3].place.reserved_bytes_per_block());
  }
}

TEST(CapacityTest, CheckpointsGetAnEighthOfWhatIsLeftUnlessTheirNumberIsGiven) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 40 * kGiB};
  const CapacityPlan plan = PlanCapacity(request).value();
  const int64_t sequences = 64;
  // A sequence: its window and a rolling checkpoint of 2 blocks. A prefill step: the new window and
  // two checkpoints more.
  const int64_t window_blocks = sequences * (3 + 2 + 3 + 2 * 2);
  const int64_t overlap_blocks = sequences * (1 + 2);
  EXPECT_EQ(plan.pools[0].blocks, window_blocks + 2 * plan.checkpoints);
  EXPECT_EQ(plan.pools[3].blocks, overlap_blocks + plan.checkpoints);
  const int64_t fixed = window_blocks * plan.pools[0].place.reserved_bytes_per_block() +
                        overlap_blocks * plan.pools[3].place.reserved_bytes_per_block() +
                        sequences * plan.state_bytes_per_sequence;
  EXPECT_EQ(plan.fixed_bytes_per_sequence, fixed / sequences);
  const int64_t left = plan.memory_bytes - plan.table_bytes - fixed;
  EXPECT_EQ(plan.checkpoints, left / 8 / plan.checkpoint_bytes);
  EXPECT_EQ(SumOfParts(plan), 40 * kGiB);

  for (const int32_t checkpoints : {0, 1, 5000}) {
    request.checkpoints = checkpoints;
    const CapacityPlan given = PlanCapacity(request).value();
    EXPECT_EQ(given.checkpoints, checkpoints);
    EXPECT_EQ(given.pools[0].blocks, window_blocks + 2 * checkpoints);
    EXPECT_EQ(given.pools[3].blocks, overlap_blocks + checkpoints);
    EXPECT_EQ(SumOfParts(given), 40 * kGiB);
  }
  request.checkpoints = -1;
  request.memory_bytes = 2 * kGiB;  // an eighth would hold fewer than one a sequence
  EXPECT_EQ(PlanCapacity(request)->checkpoints, sequences);
}

TEST(CapacityTest, NothingIsChargedForCheckpointsThatAModelCannotHave) {
  const auto plan = [](const LayeredModelOptions& options) {
    return PlanCapacity({.model = MakeModel(options).value(), .memory_bytes = kGiB}).value();
  };
  EXPECT_TRUE(plan({.ratios = {0, 4}}).prefix_reuse);
  EXPECT_FALSE(plan({.ratios = {0, 0}}).prefix_reuse);  // no chunk is ever shared
  // A chunk's end lies inside a window block.
  const CapacityPlan wide = plan({.ratios = {0, 4}, .swa_block_tokens = 512});
  EXPECT_FALSE(wide.prefix_reuse);
  EXPECT_EQ(wide.checkpoints, 0);
  EXPECT_EQ(wide.pools[0].blocks, 64 * (2 + 2));
  EXPECT_EQ(wide.pools[2].blocks, 0);
}

TEST(CapacityTest, PlansInFlightAreChargedTheBlocksThatTheyLeaveDraining) {
  CapacityRequest request = {
      .model = DeepSeekV4Flash(), .memory_bytes = 40 * kGiB, .prefix_reuse = false};
  const int32_t without = PlanCapacity(request)->pools[0].blocks;
  const auto extra = [&](int32_t plans, int32_t drafts) {
    request.in_flight_plans = plans;
    request.limits.max_drafts = drafts;
    const WindowBlocks worst =
        WorstCaseWindowBlocks(PlanCapacity(request)->geometry.pools[0], 128, request.limits);
    return PlanCapacity(request)->pools[0].blocks / 64 - worst.steady - worst.prefill_extra;
  };
  EXPECT_EQ(without, 64 * 6);
  EXPECT_EQ(extra(0, 0), 0);
  EXPECT_EQ(extra(1, 0), 1);
  EXPECT_EQ(extra(64, 0), 1);  // so many tokens begin one block of 64
  EXPECT_EQ(extra(65, 0), 2);
  EXPECT_EQ(extra(3, 2), 3);  // every step may begin the block again
  EXPECT_EQ(extra(3, 64), 6);
}

TEST(CapacityTest, TheCompressorsStateOfFlashIsChargedToEverySequence) {
  LayeredModelOptions options = ModelOptionsByName("deepseek-v4-flash").value();
  EXPECT_TRUE(options.state);
  options.state = false;
  CapacityRequest request = {.model = MakeModel(options).value(), .memory_bytes = 40 * kGiB};
  const CapacityPlan without = PlanCapacity(request).value();
  EXPECT_EQ(without.state_bytes_per_sequence, 0);
  options.state = true;
  request.model = MakeModel(options).value();
  for (const int32_t drafts : {0, 4}) {
    request.limits.max_drafts = drafts;
    const CapacityPlan plan = PlanCapacity(request).value();
    EXPECT_EQ(plan.useful_state_bytes_per_sequence,
              21 * (12 + 2 * drafts) * 5120 + 20 * (12320 + drafts * 4096));
    EXPECT_EQ(plan.state_bytes_per_sequence, plan.useful_state_bytes_per_sequence);
    EXPECT_EQ(SumOfParts(plan), 40 * kGiB);
    for (const int32_t ratio : {4, 128}) {
      EXPECT_EQ(plan.pools[StatePool(request.model, ratio).value()].blocks,
                request.limits.max_sequences);
    }
    EXPECT_THAT(ToTable(plan), HasSubstr(drafts == 0 ? "one more sequence (state)     1.47 MiB"
                                                     : "one more sequence (state)     2.60 MiB"));
  }
}

// Pools are not sized by the step: a prefill piece of any length stores a window, and its state and
// entries are where they are anyhow. What grows are the rows of the step itself, in the tables.
TEST(CapacityTest, ALargerStepReservesItsRowsInTheTablesAndNothingElse) {
  LayeredModelOptions options = ModelOptionsByName("deepseek-v4-flash").value();
  options.state = true;
  CapacityRequest request = {.model = MakeModel(options).value(),
                             .memory_bytes = 40 * kGiB,
                             .limits = {.max_sequences = 64, .max_drafts = 4},
                             .checkpoints = 100};
  const auto with = [&](int32_t step_tokens) {
    request.limits.max_step_tokens = step_tokens;
    return PlanCapacity(request).value();
  };
  const CapacityPlan small = with(4096);
  const CapacityPlan large = with(32768);
  for (size_t p = 0; p < small.pools.size(); ++p) {
    if (small.pools[p].kind == PoolKind::kFull) continue;
    EXPECT_EQ(large.pools[p].blocks, small.pools[p].blocks) << small.pools[p].name;
    EXPECT_EQ(large.pools[p].place.total_bytes, small.pools[p].place.total_bytes);
  }
  EXPECT_EQ(large.fixed_bytes_per_sequence, small.fixed_bytes_per_sequence);
  EXPECT_EQ(large.state_bytes_per_sequence, small.state_bytes_per_sequence);
  EXPECT_EQ(large.checkpoint_bytes, small.checkpoint_bytes);
  EXPECT_EQ(large.marginal_bytes_per_token, small.marginal_bytes_per_token);
  // A token: 28 bytes for its row, 8 for each entry row that it may close, and every 256 tokens
  // records of a checkpoint, of a block of both full pools and of 4 window blocks in the plan.
  const double per_token = 28 + 8 / 4.0 + 8 / 128.0 + 16 * (1 + 2 + 4) / 256.0;
  EXPECT_NEAR(static_cast<double>(large.table_bytes - small.table_bytes),
              (32768 - 4096) * per_token, 256);
}

TEST(CapacityTest, ThePlanIsExactForAnyModelLimitsAndBudget) {
  std::mt19937_64 random(11);
  const auto pick = [&](auto... values) {
    const std::vector<int64_t> list = {values...};
    return list[random() % list.size()];
  };
  int plans = 0;
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed 11, round " << round);
    LayeredModelOptions options;
    const int layers = static_cast<int>(1 + random() % 12);
    for (int l = 0; l < layers; ++l) {
      options.ratios.push_back(static_cast<int32_t>(pick(0, 1, 2, 4, 128)));
    }
    options.latent_format = LatentFormats()[random() % LatentFormats().size()];
    options.indexer_format = IndexerFormats()[random() % IndexerFormats().size()];
    options.indexer_ratio = static_cast<int32_t>(pick(0, 4, 128));
    options.swa_block_tokens = static_cast<int32_t>(pick(1, 16, 64, 256));
    options.chunk_tokens = static_cast<int32_t>(pick(128, 256, 1024));
    options.max_context_tokens = static_cast<int32_t>(pick(100, 4096, 100000, 1 << 20));
    options.layout = static_cast<PoolLayout>(random() % 2);
    options.page_align = pick(16, 32, 128, 576);
    options.state = random() % 2 == 0;
    CapacityRequest request;
    request.model = MakeModel(options).value();
    request.limits.max_sequences = static_cast<int32_t>(1 + random() % 100);
    request.limits.max_step_tokens = static_cast<int32_t>(pick(8, 128, 512, 8192));
    request.limits.max_drafts = static_cast<int32_t>(random() % 8);
    request.limits.store_whole_chunk = random() % 2 == 0;
    request.prefill_sequences = static_cast<int32_t>(random() % (request.limits.max_sequences + 1));
    request.memory_bytes = static_cast<int64_t>(random() % (4 * kGiB)) + 1;
    request.prefix_reuse = random() % 4 != 0;
    request.checkpoints = static_cast<int32_t>(pick(-1, -1, 0, 100));
    request.in_flight_plans = static_cast<int32_t>(pick(0, 0, 1, 3));

    const auto plan = PlanCapacity(request);
    if (!plan.ok()) {
      ASSERT_EQ(plan.status().code(), absl::StatusCode::kOutOfRange) << plan.status();
      continue;
    }
    ++plans;
    EXPECT_EQ(SumOfParts(*plan), request.memory_bytes);
    EXPECT_EQ(plan->table_bytes, TableBytes(plan->geometry));
    EXPECT_GE(plan->unused_bytes, 0);
    int64_t chunk_bytes = 0;
    // All checkpoints that were not asked for can go but one a sequence.
    const int64_t fewest = !plan->prefix_reuse       ? 0
                           : request.checkpoints < 0 ? request.limits.max_sequences
                                                     : request.checkpoints;
    EXPECT_GE(plan->checkpoints, fewest);
    int64_t smallest = plan->table_bytes - (plan->checkpoints - fewest) * plan->checkpoint_bytes;
    for (size_t p = 0; p < plan->pools.size(); ++p) {
      const PoolBudget& pool = plan->pools[p];
      const int64_t block_bytes = pool.place.reserved_bytes_per_block();
      EXPECT_EQ(pool.place.total_bytes, pool.blocks * block_bytes);
      EXPECT_EQ(plan->geometry.pools[p].capacity_blocks, pool.blocks);
      if (pool.kind == PoolKind::kFull) {
        chunk_bytes += block_bytes;
        smallest += block_bytes;
        EXPECT_EQ(plan->max_tokens, int64_t{pool.blocks} * options.chunk_tokens);
      } else {
        smallest += pool.place.total_bytes;
      }
    }
    if (chunk_bytes != 0) {
      EXPECT_LT(plan->unused_bytes, chunk_bytes);
    }

    // The smallest memory that the plan asks for is exact too.
    request.memory_bytes = smallest;
    const auto least = PlanCapacity(request);
    ASSERT_TRUE(least.ok()) << least.status();
    EXPECT_EQ(least->unused_bytes, 0);
    request.memory_bytes = smallest - 1;
    const absl::Status short_by_one = PlanCapacity(request).status();
    EXPECT_EQ(short_by_one.code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(short_by_one.message()), HasSubstr(std::to_string(smallest)));
  }
  EXPECT_GT(plans, 1000);
}

TEST(CapacityTest, FewerPrefillingSequencesLeaveRoomForMoreTokens) {
  CapacityRequest request = {
      .model = DeepSeekV4Flash(), .memory_bytes = 2 * kGiB, .checkpoints = 10};
  const CapacityPlan all = PlanCapacity(request).value();
  request.prefill_sequences = 4;
  const CapacityPlan four = PlanCapacity(request).value();
  EXPECT_EQ(all.pools[0].blocks - four.pools[0].blocks, 60 * (3 + 2 * 2));
  EXPECT_EQ(all.pools[3].blocks - four.pools[3].blocks, 60 * 2);
  EXPECT_GT(four.max_tokens, all.max_tokens);
}

TEST(CapacityTest, SequencesTakeWholeChunksAndNoMoreThanMaxSequences) {
  const CapacityPlan plan =
      PlanCapacity(
          {.model = DeepSeekV4Flash(), .memory_bytes = 2 * kGiB, .limits = {.max_sequences = 32}})
          .value();
  const int64_t chunks = plan.pools[1].blocks;
  EXPECT_EQ(SequencesThatFit(plan, 0), 32);
  EXPECT_EQ(SequencesThatFit(plan, 1), 32);
  EXPECT_EQ(SequencesThatFit(plan, 256 * (chunks / 10)), 10);
  EXPECT_EQ(SequencesThatFit(plan, 256 * (chunks / 2)), 2);
  EXPECT_EQ(SequencesThatFit(plan, 256 * (chunks / 2) + 1), chunks / (chunks / 2 + 1));
  EXPECT_EQ(SequencesThatFit(plan, 256 * chunks), 1);
  EXPECT_EQ(SequencesThatFit(plan, 256 * chunks + 1), 0);
  EXPECT_EQ(SequencesThatFit(plan, (1 << 20) + 1), 0);
}

TEST(CapacityTest, AModelWithoutFullPoolsHoldsItsContextInEverySequence) {
  const CapacityPlan plan = PlanCapacity({.model = MakeModel({.ratios = {0, 0}}).value(),
                                          .memory_bytes = kGiB,
                                          .limits = {.max_sequences = 3}})
                                .value();
  EXPECT_EQ(plan.max_tokens, 3 << 20);
  EXPECT_EQ(plan.marginal_bytes_per_token, 0);
  EXPECT_EQ(SequencesThatFit(plan, 1 << 20), 3);
  EXPECT_EQ(SumOfParts(plan), kGiB);
}

TEST(CapacityTest, ImpossibleRequestsAreErrorsThatSayWhy) {
  CapacityRequest request = {.model = DeepSeekV4Flash(), .memory_bytes = 100 * kMiB};
  const absl::Status small = PlanCapacity(request).status();
  EXPECT_EQ(small.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(small.message()), HasSubstr("allow fewer sequences"));

  request.memory_bytes = 0;
  EXPECT_EQ(PlanCapacity(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.memory_bytes = -5;
  EXPECT_EQ(PlanCapacity(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.memory_bytes = int64_t{1} << 62;
  EXPECT_EQ(PlanCapacity(request).status().code(), absl::StatusCode::kInvalidArgument);
  request.memory_bytes = kGiB;
  request.prefill_sequences = 65;
  EXPECT_THAT(std::string(PlanCapacity(request).status().message()),
              HasSubstr("prefill_sequences is 65"));
  request.prefill_sequences = 0;
  request.checkpoints = -2;
  EXPECT_THAT(std::string(PlanCapacity(request).status().message()),
              HasSubstr("checkpoints is -2"));
  request.checkpoints = 1'000'000;
  EXPECT_EQ(PlanCapacity(request).status().code(), absl::StatusCode::kOutOfRange);
  request.checkpoints = -1;
  request.in_flight_plans = -1;
  EXPECT_THAT(std::string(PlanCapacity(request).status().message()),
              HasSubstr("in_flight_plans is -1"));
  request.in_flight_plans = 0;
  request.model.pools.clear();
  EXPECT_EQ(PlanCapacity(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CapacityTest, TheTableNamesEveryPartOfTheMemory) {
  const std::string table =
      ToTable(PlanCapacity({.model = DeepSeekV4Flash(), .memory_bytes = 40 * kGiB}).value());
  for (const char* text : {"one more checkpoint",
                           "checkpoints of prefixes that no sequence uses",
                           "20,480 B",
                           "deepseek-v4-flash",
                           "swa",
                           "csa",
                           "hca",
                           "flashmla_v4 + indexer_fp8",
                           "962,496",
                           "useful rows",
                           "page padding",
                           "block padding",
                           "tables and step buffers",
                           "unused",
                           "42,949,672,960",
                           "3850.25 B",
                           "3.07 MiB",
                           "128K",
                           "max_sequences",
                           "memory"}) {
    EXPECT_THAT(table, HasSubstr(text));
  }
  EXPECT_EQ(table.find(" \n"), std::string::npos);  // no trailing spaces
}

}  // namespace
}  // namespace terrace::testing
