#include "terrace/geometry.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "src/model/geometry_builder.h"
#include "src/model/geometry_check.h"
#include "terrace/plan.h"
#include "terrace/plan_format.h"

namespace terrace::testing {
namespace {

using internal::MakeGeometry;
using internal::ValidateGeometry;

using ::testing::HasSubstr;

TEST(GeometryTest, FlashIsLaidOutByItsModelAndLimits) {
  const Geometry geometry =
      MakeGeometry(DeepSeekV4Flash(), {.max_sequences = 8, .max_context_tokens = 1000},
                   std::vector<int32_t>{10, 20, 30, 5, 8, 9})
          .value();
  EXPECT_EQ(geometry.num_pools, 6);
  EXPECT_EQ(geometry.window_pool, 0);
  EXPECT_EQ(geometry.overlap_pool, 3);
  EXPECT_EQ(geometry.num_layers, 43);
  EXPECT_EQ(geometry.window_tokens, 128);
  EXPECT_EQ(geometry.chunk_tokens, 256);
  EXPECT_EQ(geometry.max_sequences, 8);
  EXPECT_EQ(geometry.max_step_tokens, 8192);
  EXPECT_EQ(geometry.max_context_tokens, 1000);
  const PoolGeometry& swa = geometry.pools[0];
  EXPECT_EQ(swa.kind, PoolKind::kWindow);
  EXPECT_EQ(swa.entries_per_block, 64);
  EXPECT_EQ(swa.log2_entries_per_block, 6);
  EXPECT_EQ(swa.tokens_per_block, 64);
  EXPECT_EQ(swa.blocks_per_sequence, 16);  // ceil(1000 / 64)
  EXPECT_EQ(swa.capacity_blocks, 10);
  const PoolGeometry& hca = geometry.pools[2];
  EXPECT_EQ(hca.ratio, 128);
  EXPECT_EQ(hca.entries_per_block, 2);
  EXPECT_EQ(hca.tokens_per_block, 256);
  EXPECT_EQ(hca.blocks_per_sequence, 4);  // ceil(1000 / 256)
  EXPECT_EQ(hca.capacity_blocks, 30);
  const PoolGeometry& overlap = geometry.pools[3];
  EXPECT_EQ(overlap.kind, PoolKind::kOverlap);
  EXPECT_EQ(overlap.entries_per_block, 1);
  EXPECT_EQ(overlap.tokens_per_block, 0);  // it holds checkpoints, not tokens of a sequence
  EXPECT_EQ(overlap.blocks_per_sequence, 0);
  EXPECT_EQ(overlap.capacity_blocks, 5);
  for (const int p : {4, 5}) {
    const PoolGeometry& state = geometry.pools[p];
    EXPECT_EQ(state.kind, PoolKind::kState);
    EXPECT_EQ(state.ratio, p == 4 ? 4 : 128);
    EXPECT_EQ(state.blocks_per_sequence, 1);
    EXPECT_EQ(state.capacity_blocks, 4 + p);
  }
  EXPECT_TRUE(ValidateGeometry(geometry).ok()) << ValidateGeometry(geometry);
}

TEST(GeometryTest, AGeometryThatNobodyMadeIsAnErrorThatNamesTheField) {
  const Geometry good = MakeGeometry(DeepSeekV4Flash(), {}, std::vector<int32_t>(6, 1)).value();
  const auto expect = [&](const std::string& message, auto spoil) {
    Geometry geometry = good;
    spoil(geometry);
    const absl::Status status = ValidateGeometry(geometry);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  expect("overlap_pool is -1", [](Geometry& g) { g.overlap_pool = -1; });
  expect("overlap_pool is 1", [](Geometry& g) { g.overlap_pool = 1; });
  expect("overlap_pool is 4", [](Geometry& g) { g.overlap_pool = 4; });
  expect("overlap_pool is -2", [](Geometry& g) { g.overlap_pool = -2; });
  expect("num_layers is 0", [](Geometry& g) { g.num_layers = 0; });
  expect("reserved is 1", [](Geometry& g) { g.reserved = 1; });
  expect("kind is 4", [](Geometry& g) { g.pools[3].kind = static_cast<PoolKind>(4); });
  expect("ratio is 4", [](Geometry& g) { g.pools[3].ratio = 4; });
  expect("entries_per_block is 2", [](Geometry& g) {
    g.pools[3].entries_per_block = 2;
    g.pools[3].log2_entries_per_block = 1;
  });
  expect("tokens_per_block is 1", [](Geometry& g) { g.pools[3].tokens_per_block = 1; });
  expect("tokens_per_block is 0", [](Geometry& g) { g.pools[1].tokens_per_block = 0; });
  expect("blocks_per_sequence is 4096", [](Geometry& g) { g.pools[3].blocks_per_sequence = 4096; });
  expect("capacity_blocks is 0", [](Geometry& g) { g.pools[2].capacity_blocks = 0; });
  expect("capacity_blocks is -1", [](Geometry& g) { g.pools[3].capacity_blocks = -1; });
}

TEST(GeometryTest, TheContextIsTheModelsUnlessItIsLimited) {
  const Geometry geometry = MakeGeometry(DeepSeekV4Flash(), {}, std::vector<int32_t>(6, 1)).value();
  EXPECT_EQ(geometry.max_context_tokens, 1 << 20);
}

TEST(GeometryTest, BadLimitsAndCapacitiesAreErrorsThatNameThem) {
  const auto message = [](const Limits& limits, std::vector<int32_t> blocks = {1, 1, 1, 1, 1, 1}) {
    const auto geometry = MakeGeometry(DeepSeekV4Flash(), limits, blocks);
    EXPECT_EQ(geometry.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(geometry.status().message());
  };
  EXPECT_THAT(message({.max_sequences = 0}), HasSubstr("max_sequences is 0"));
  EXPECT_THAT(message({.max_step_tokens = -1}), HasSubstr("max_step_tokens is -1"));
  EXPECT_THAT(message({.max_step_tokens = 4, .max_drafts = 4}), HasSubstr("max_drafts is 4"));
  EXPECT_THAT(message({.max_drafts = -1}), HasSubstr("max_drafts is -1"));
  EXPECT_THAT(message({.max_context_tokens = (1 << 20) + 1}), HasSubstr("max_context_tokens"));
  EXPECT_THAT(message({}, {1, 1}), HasSubstr("2 capacities for 6 pools"));
  EXPECT_THAT(message({}, {1, 0, 1, 1, 1, 1}), HasSubstr("pool csa: 0 blocks"));
  EXPECT_THAT(message({}, {1, 1, 1, -1, 1, 1}), HasSubstr("pool overlap: -1 blocks"));
  EXPECT_THAT(message({}, {1, 1 << 25, 1, 1, 1, 1}),
              HasSubstr("pool csa: 33554432 blocks of 64 entries"));
  EXPECT_FALSE(MakeGeometry(ModelSpec{}, {}, {}).ok());
}

TEST(GeometryTest, TheFingerprintDependsOnEveryField) {
  const Geometry geometry = MakeGeometry(DeepSeekV4Flash(), {}, std::vector<int32_t>(6, 1)).value();
  EXPECT_EQ(Fingerprint(geometry), Fingerprint(Geometry(geometry)));
  std::set<uint64_t> seen = {Fingerprint(geometry)};
  for (size_t i = 0; i < sizeof(Geometry) / sizeof(int32_t); ++i) {
    Geometry other = geometry;
    reinterpret_cast<int32_t*>(&other)[i] ^= 1;
    EXPECT_TRUE(seen.insert(Fingerprint(other)).second) << "field at " << 4 * i;
  }
}

// --- the window's worst case, against a walk over every step ---

// Blocks held while a step feeds positions [f, l), the last d of them drafts.
int HeldBlocks(int f, int l, int d, int window, int block, bool whole_chunk) {
  std::set<int> blocks;
  const auto hold = [&](int begin, int end) {
    for (int b = begin / block; begin < end && b <= (end - 1) / block; ++b) blocks.insert(b);
  };
  hold(std::max(0, f - (window - 1)), f);
  hold(whole_chunk ? f : std::max(f, l - d - (window - 1)), l);
  return static_cast<int>(blocks.size());
}

struct Worst {
  int decode = 0;
  int any = 0;
};
Worst WalkAllSteps(int window, int block, const Limits& limits, bool only_most_drafts = false) {
  Worst worst;
  for (int f = 0; f <= window + block; ++f) {
    for (int n = 1; n <= limits.max_step_tokens; ++n) {
      const int most_drafts = std::min(limits.max_drafts, n - 1);
      for (int d = only_most_drafts ? most_drafts : 0; d <= most_drafts; ++d) {
        const int held = HeldBlocks(f, f + n, d, window, block, limits.store_whole_chunk);
        worst.any = std::max(worst.any, held);
        if (n == d + 1) worst.decode = std::max(worst.decode, held);
      }
    }
  }
  return worst;
}

PoolGeometry WindowPoolOf(int block, int blocks_per_sequence) {
  PoolGeometry pool{};
  pool.kind = PoolKind::kWindow;
  pool.ratio = 1;
  pool.entries_per_block = block;
  pool.tokens_per_block = block;
  pool.blocks_per_sequence = blocks_per_sequence;
  return pool;
}

TEST(GeometryTest, TheWindowsWorstCaseIsExactForEverySmallWindow) {
  for (const int window : {2, 3, 5, 8, 9}) {
    for (const int block : {1, 2, 4, 8, 16}) {
      for (const int drafts : {0, 1, 3}) {
        for (const int step : {drafts + 1, drafts + 2, 7, 10, 13, 18, 25, 60}) {
          for (const bool whole_chunk : {false, true}) {
            if (step <= drafts) continue;
            SCOPED_TRACE(::testing::Message()
                         << "window " << window << " block " << block << " drafts " << drafts
                         << " step " << step << " whole_chunk " << whole_chunk);
            const Limits limits = {
                .max_step_tokens = step, .max_drafts = drafts, .store_whole_chunk = whole_chunk};
            const WindowBlocks blocks =
                WorstCaseWindowBlocks(WindowPoolOf(block, 1000), window, limits);
            const Worst worst = WalkAllSteps(window, block, limits);
            EXPECT_EQ(blocks.steady, worst.decode);
            EXPECT_EQ(blocks.steady + blocks.prefill_extra, worst.any);
          }
        }
      }
    }
  }
}

TEST(GeometryTest, TheWindowsWorstCaseIsExactForAWindowOf128) {
  for (const int block : {16, 64, 128, 256}) {
    for (const int drafts : {0, 4}) {
      for (const int step : {drafts + 1, 130, 400}) {
        for (const bool whole_chunk : {false, true}) {
          SCOPED_TRACE(::testing::Message() << "block " << block << " drafts " << drafts << " step "
                                            << step << " whole_chunk " << whole_chunk);
          const Limits limits = {
              .max_step_tokens = step, .max_drafts = drafts, .store_whole_chunk = whole_chunk};
          const WindowBlocks blocks = WorstCaseWindowBlocks(WindowPoolOf(block, 1000), 128, limits);
          const Worst worst = WalkAllSteps(128, block, limits, /*only_most_drafts=*/true);
          EXPECT_EQ(blocks.steady, worst.decode);
          EXPECT_EQ(blocks.steady + blocks.prefill_extra, worst.any);
        }
      }
    }
  }
}

TEST(GeometryTest, ADecodingSequenceHoldsTheWindowItsDraftsAndOneMoreBlock) {
  for (const int drafts : {0, 1, 2, 65}) {
    const WindowBlocks blocks =
        WorstCaseWindowBlocks(WindowPoolOf(64, 16384), 128, {.max_drafts = drafts});
    EXPECT_EQ(blocks.steady, (127 + drafts + 63) / 64 + 1);
  }
}

TEST(GeometryTest, AShortContextHoldsNoMoreWindowBlocksThanItsTable) {
  const WindowBlocks blocks = WorstCaseWindowBlocks(WindowPoolOf(64, 2), 128, {});
  EXPECT_EQ(blocks.steady, 2);
  EXPECT_EQ(blocks.prefill_extra, 0);
  const WindowBlocks prefill = WorstCaseWindowBlocks(WindowPoolOf(64, 4), 128, {});
  EXPECT_EQ(prefill.steady, 3);
  EXPECT_EQ(prefill.prefill_extra, 1);
}

TEST(GeometryTest, ACheckpointKeepsTheFewestBlocksThatHoldItsRows) {
  for (const int block : {1, 2, 4, 8, 16, 32, 64, 128, 256}) {
    const ModelSpec model = MakeModel({.ratios = {0}, .swa_block_tokens = block}).value();
    const Geometry geometry = MakeGeometry(model, {}, std::vector<int32_t>{1}).value();
    for (int end = 256; end <= 1024; end += 256) {
      EXPECT_EQ(CheckpointWindowBlocks(geometry), (end - 1) / block - (end - 127) / block + 1);
    }
  }
}

// --- the most rows and patches of a step, against every split of its tokens over sequences ---

// Largest sum of most[n_i] over up to `sequences` sequences that feed `tokens` tokens in all.
int64_t BestSplit(const std::vector<int64_t>& most, int sequences, int tokens) {
  std::vector<int64_t> best(tokens + 1, 0);
  for (int s = 0; s < sequences; ++s) {
    std::vector<int64_t> next = best;
    for (int all = 1; all <= tokens; ++all) {
      for (int n = 1; n <= all; ++n) next[all] = std::max(next[all], best[all - n] + most[n]);
    }
    best = next;
  }
  return best[tokens];
}

TEST(GeometryTest, MaxEntryRowsIsTheMostThatAStepCanClose) {
  for (const EntryRule rule : {EntryRule::kPooled, EntryRule::kStrided}) {
    const ModelSpec model = MakeModel({.ratios = {1, 2, 4, 128}, .rule = rule}).value();
    for (const int sequences : {1, 2, 5}) {
      for (const int tokens : {1, 3, 4, 17, 140}) {
        const Geometry geometry =
            MakeGeometry(model, {.max_sequences = sequences, .max_step_tokens = tokens},
                         std::vector<int32_t>(model.pools.size(), 1))
                .value();
        EXPECT_EQ(MaxEntryRows(geometry, PoolIndex(0)), tokens);
        for (int p = 1; p <= 4; ++p) {
          const int r = geometry.pools[p].ratio;
          std::vector<int64_t> most(tokens + 1, 0);
          for (int n = 1; n <= tokens; ++n) {
            for (int f = 0; f < r; ++f) {
              int64_t closed = 0;
              for (int t = f; t < f + n; ++t) {
                closed += t % r == (rule == EntryRule::kPooled ? r - 1 : 0);
              }
              most[n] = std::max(most[n], closed);
            }
          }
          EXPECT_EQ(MaxEntryRows(geometry, PoolIndex(p)), BestSplit(most, sequences, tokens))
              << "ratio " << r << " sequences " << sequences << " tokens " << tokens;
        }
      }
    }
  }
}

TEST(GeometryTest, APoolWithoutRowsOrOutsideTheGeometryClosesNoEntries) {
  const ModelSpec model = DeepSeekV4Flash();
  const Geometry geometry =
      MakeGeometry(model, {}, std::vector<int32_t>(model.pools.size(), 1)).value();
  EXPECT_GT(MaxEntryRows(geometry, FullPool(model, 2)), 0);
  EXPECT_EQ(MaxEntryRows(geometry, OverlapPool(model)), 0);
  EXPECT_EQ(MaxEntryRows(geometry, CsaStatePool(geometry)), 0);
  for (const int pool : {-1, geometry.num_pools, kMaxPools, 99}) {
    EXPECT_EQ(MaxEntryRows(geometry, PoolIndex(pool)), 0) << pool;
  }
}

TEST(GeometryTest, NoStepNeedsMoreThanMaxPatches) {
  for (const bool whole_chunk : {false, true}) {
    for (const int block : {1, 16, 64, 512}) {
      for (const int drafts : {0, 3}) {
        for (const int sequences : {1, 3}) {
          for (const int tokens : {4, 100, 300}) {
            const ModelSpec model =
                MakeModel({.ratios = {4, 128}, .overlap = false, .swa_block_tokens = block})
                    .value();
            const Geometry geometry = MakeGeometry(model,
                                                   {.max_sequences = sequences,
                                                    .max_step_tokens = tokens,
                                                    .max_drafts = drafts,
                                                    .store_whole_chunk = whole_chunk},
                                                   std::vector<int32_t>{1, 1, 1})
                                          .value();
            // New blocks of one sequence that feeds n tokens, all pools, at its worst position.
            const int w = model.window_tokens - 1;
            std::vector<int64_t> most(tokens + 1, 0);
            std::vector<int> taken_in(2048, 0);  // the last step that took the block
            int step = 0;
            for (int n = 1; n <= tokens; ++n) {
              for (int f = 0; f < std::max(512, 2 * block); f += 1) {
                // Every chunk that ends in the step leaves a checkpoint.
                int64_t patches = 0;
                for (const int period : {256, 256}) {
                  patches += (f + n - 1) / period - (f + period - 1) / period + 1;
                }
                const int l = f + n;
                const int d = std::min(drafts, n - 1);
                const int begin = whole_chunk ? f : std::max(f, l - d - w);
                const int first_new = f == 0 ? 0 : (f - 1) / block + 1;
                ++step;
                const auto store = [&](int from, int to) {
                  for (int b = std::max(from / block, first_new); b <= (to - 1) / block; ++b) {
                    patches += std::exchange(taken_in[b], step) != step;
                  }
                };
                store(begin, l);
                for (int end = (f / 256 + 1) * 256; end <= l; end += 256) {
                  store(std::max(f, end - w), end);
                }
                most[n] = std::max(most[n], patches);
              }
            }
            const int64_t needed = BestSplit(most, sequences, tokens);
            EXPECT_GE(MaxPatches(geometry), needed);
            // Not wastefully more: each pool's worst case is exact, but they need not coincide, and
            // a checkpoint may lie in the window that is stored in any case.
            EXPECT_LE(MaxPatches(geometry), needed + (3 + 128 / block) * sequences);
            // All sequences may have a checkpoint that settled before, and be restored.
            const int64_t batch = std::min(sequences, tokens);
            EXPECT_EQ(
                MaxStepPlanBytes(geometry),
                128 + batch * 64 + (MaxCheckpoints(geometry) + batch + MaxPatches(geometry)) * 16);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace terrace::testing
