// The compressor's state as the ledger sees it: a block of every state pool for each sequence.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/ledger.h"
#include "tests/support/test_geometry.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kOverlapPool = 3;  // after the window, CSA and HCA
constexpr int kCsaState = 4;
constexpr int kHcaState = 5;

class LedgerStateTest : public ::testing::Test {
 protected:
  void Make(int32_t state_blocks, int32_t in_flight_plans = 0) {
    Make(MakeTestGeometry({.overlap_blocks = 8, .state_blocks = state_blocks}), in_flight_plans);
  }
  void Make(const Geometry& geometry, int32_t in_flight_plans, bool prefix_reuse = true) {
    geometry_ = geometry;
    ASSERT_EQ(geometry_.pools[kOverlapPool].kind, PoolKind::kOverlap);
    ASSERT_EQ(geometry_.pools[kCsaState].kind, PoolKind::kState);
    ASSERT_EQ(geometry_.pools[kHcaState].kind, PoolKind::kState);
    auto ledger = Ledger::Create({.geometry = geometry_,
                                  .in_flight_plans = in_flight_plans,
                                  .prefix = {.enabled = prefix_reuse}});
    ASSERT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
  }

  SequenceId Allocate(int32_t tokens, int32_t id = 7) {
    const auto admission = ledger_->AllocateSequence({.tokens = std::vector<int32_t>(tokens, id)});
    EXPECT_TRUE(admission.ok()) << admission.status();
    return admission->id;
  }
  Plan Append(std::vector<StepRequest> batch) {
    auto plan = ledger_->Append(batch);
    EXPECT_TRUE(plan.ok()) << plan.status();
    ledger_->CheckInvariants();
    return *std::move(plan);
  }
  // The blocks that a plan puts into the table of `pool`, by sequence; -1 for none.
  static std::vector<int32_t> Patched(const Plan& plan, int pool) {
    std::vector<int32_t> blocks(8, -1);
    for (const BlockPatch& patch : plan.patches()) {
      if (patch.pool != pool) continue;
      EXPECT_EQ(patch.index, 0);
      blocks[patch.sequence_index] = patch.block;
    }
    return blocks;
  }
  static int Copies(const Plan& plan, int pool) {
    return static_cast<int>(
        std::count_if(plan.copies().begin(), plan.copies().end(),
                      [pool](const BlockCopy& copy) { return copy.pool == pool; }));
  }

  Geometry geometry_{};
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(LedgerStateTest, TheFirstStepTakesABlockOfEveryStatePoolAndTheOthersNone) {
  Make(8);
  const SequenceId id = Allocate(100);
  EXPECT_EQ(UseOf(*ledger_, kCsaState).live, 0);
  const Plan first = Append({{.id = id, .tokens = 60}});
  for (const int pool : {kCsaState, kHcaState}) {
    EXPECT_GE(Patched(first, pool)[id.index], 0);
    EXPECT_EQ(UseOf(*ledger_, pool).live, 1);
  }
  const Plan second = Append({{.id = id, .tokens = 40}});
  for (const int pool : {kCsaState, kHcaState}) {
    EXPECT_EQ(Patched(second, pool)[id.index], -1);
    EXPECT_EQ(UseOf(*ledger_, pool).live, 1);
  }
  ASSERT_TRUE(ledger_->FreeSequence(id).ok());
  EXPECT_EQ(UseOf(*ledger_, kCsaState).free, 8);
  EXPECT_EQ(UseOf(*ledger_, kHcaState).free, 8);
}

TEST_F(LedgerStateTest, OfTwoForkedSequencesTheFirstToStepCopiesTheState) {
  Make(8);
  const SequenceId parent = Allocate(100);
  const Plan plan = Append({{.id = parent, .tokens = 100}});
  const auto child = ledger_->Fork(parent);
  ASSERT_TRUE(child.ok());
  ledger_->CheckInvariants();
  EXPECT_EQ(UseOf(*ledger_, kCsaState).live, 1);

  const Plan by_parent = Append({{.id = parent, .tokens = 1}});
  for (const int pool : {kCsaState, kHcaState}) {
    EXPECT_EQ(Copies(by_parent, pool), 1);
    EXPECT_EQ(UseOf(*ledger_, pool).live, 2);
    EXPECT_NE(Patched(by_parent, pool)[parent.index], Patched(plan, pool)[parent.index]);
  }
  // The child has the parent's old block to itself now, and says where it is.
  const Plan by_child = Append({{.id = *child, .tokens = 1}});
  for (const int pool : {kCsaState, kHcaState}) {
    EXPECT_EQ(Copies(by_child, pool), 0);
    EXPECT_EQ(Patched(by_child, pool)[child->index], Patched(plan, pool)[parent.index]);
  }
}

TEST_F(LedgerStateTest, OfThreeInOneStepTheLastOneKeepsTheSharedState) {
  Make(8);
  const SequenceId parent = Allocate(100);
  Append({{.id = parent, .tokens = 100}});
  const SequenceId one = *ledger_->Fork(parent);
  const SequenceId two = *ledger_->Fork(parent);
  const Plan plan = Append({{.id = one}, {.id = parent}, {.id = two}});
  EXPECT_EQ(Copies(plan, kCsaState), 2);
  EXPECT_EQ(Copies(plan, kHcaState), 2);
  EXPECT_EQ(UseOf(*ledger_, kCsaState).live, 3);
}

TEST_F(LedgerStateTest, ASequenceForkedBeforeItsFirstStepHasAStateOfItsOwn) {
  Make(8);
  const SequenceId parent = Allocate(100);
  const SequenceId child = *ledger_->Fork(parent);
  const Plan plan = Append({{.id = parent, .tokens = 9}, {.id = child, .tokens = 5}});
  EXPECT_EQ(Copies(plan, kCsaState), 0);
  EXPECT_EQ(UseOf(*ledger_, kCsaState).live, 2);
}

TEST_F(LedgerStateTest, TheStateOfAFreedSequenceDrainsUntilItsPlansHaveRun) {
  Make(1, /*in_flight_plans=*/2);
  const SequenceId first = Allocate(50);
  const Plan plan = Append({{.id = first, .tokens = 50}});
  ASSERT_TRUE(ledger_->FreeSequence(first).ok());
  EXPECT_EQ(UseOf(*ledger_, kCsaState).draining, 1);

  const SequenceId second = Allocate(50, 8);
  const std::vector<StepRequest> step = {{.id = second, .tokens = 50}};
  const absl::Status refused = ledger_->Append(step).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("(state of ratio 4)"));
  ledger_->CheckInvariants();

  ASSERT_TRUE(ledger_->Retire(plan.number()).ok());
  EXPECT_EQ(UseOf(*ledger_, kCsaState).draining, 0);
  Append(step);
}

TEST_F(LedgerStateTest, ASnapshotSaysWhereTheStateIs) {
  Make(8);
  const SequenceId id = Allocate(100);
  const Plan plan = Append({{.id = id, .tokens = 100}});
  const auto snapshot = ledger_->Snapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ(Patched(*snapshot, kCsaState), Patched(plan, kCsaState));
  EXPECT_EQ(Patched(*snapshot, kHcaState), Patched(plan, kHcaState));
}

// Nothing grows with the chunk but its entries' blocks. Checkpoints of prefixes (not live) take
// theirs beside it, and as many for any chunk.
TEST_F(LedgerStateTest, AChunkOf32KTokensAllocatesExactlyItsPages) {
  for (const bool prefix_reuse : {false, true}) {
    for (const int32_t tokens : {1024, 32768}) {
      SCOPED_TRACE(::testing::Message() << tokens << " tokens, reuse " << prefix_reuse);
      Make(MakeTestGeometry({.full_blocks = 128,
                             .overlap_blocks = 8,
                             .state_blocks = 1,
                             .limits = {.max_step_tokens = 32768, .max_context_tokens = 65536}}),
           /*in_flight_plans=*/1, prefix_reuse);
      const auto expect = [&](const std::vector<int>& live, const std::vector<int>& cached) {
        for (int pool = 0; pool < geometry_.num_pools; ++pool) {
          const PoolUse use = UseOf(*ledger_, pool);
          EXPECT_EQ(use.live, live[pool]) << "pool " << pool;
          EXPECT_EQ(use.cached, cached[pool]) << "pool " << pool;
          EXPECT_EQ(use.free, use.capacity - use.live - use.cached) << "pool " << pool;
        }
      };
      const int chunks = tokens / 256;
      // At the end of the prompt's last whole chunk but one, and behind the chunk itself.
      const int checkpoints = prefix_reuse ? 2 : 0;
      expect({0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0});
      const SequenceId id = Allocate(tokens);
      expect({0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0});
      const Plan plan = Append({{.id = id, .tokens = tokens}});
      // 127 window rows in blocks of 64; the second checkpoint is of the same ones.
      expect({2, chunks, chunks, 0, 1, 1}, {checkpoints, 0, 0, checkpoints, 0, 0});
      EXPECT_EQ(plan.patches().size(), 2 + checkpoints + 2 * chunks + 1 + 1);
      ASSERT_TRUE(ledger_->Retire(plan.number()).ok());
      expect({2, chunks, chunks, 0, 1, 1}, {checkpoints, 0, 0, checkpoints, 0, 0});
      ASSERT_TRUE(ledger_->FreeSequence(id).ok());
      const int kept = prefix_reuse ? chunks : 0;
      expect({0, 0, 0, 0, 0, 0}, {2 * checkpoints, kept, kept, checkpoints, 0, 0});
    }
  }
}

TEST_F(LedgerStateTest, AStateWithoutAnOverlapPoolIsRefused) {
  Make(8);
  std::copy(geometry_.pools + kCsaState, geometry_.pools + geometry_.num_pools,
            geometry_.pools + kOverlapPool);
  geometry_.pools[--geometry_.num_pools] = {};
  geometry_.overlap_pool = -1;
  const absl::Status refused = Ledger::Create({.geometry = geometry_}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("overlap_pool is -1"));
}

// Ids that arrive with the drafts' step or up to four rows later still get their checkpoint, from
// the state of the block that the record names; later ones do not.
TEST_F(LedgerStateTest, ACheckpointOfSettledTokensNamesTheStateBlockWhileItReachesBack) {
  for (const int32_t late : {0, 4, 5}) {
    SCOPED_TRACE(late);
    Make(8);
    const SequenceId id = Allocate(250);
    const Plan first = Append({{.id = id, .tokens = 250}});
    Append({{.id = id, .tokens = 6}});  // to 256, of which the ledger does not know the last ids
    if (late > 0) Append({{.id = id, .tokens = late}});
    ASSERT_TRUE(ledger_->Commit(id, std::vector<int32_t>(6 + late, 9)).ok());
    EXPECT_EQ(ledger_->prefix_figures().missed_checkpoints, late > 4 ? 1 : 0);
    const Plan plan = Append({{.id = id}});
    ASSERT_EQ(plan.checkpoints().size(), late > 4 ? 0u : 1u);
    if (late > 4) continue;
    EXPECT_EQ(plan.sequences()[0].checkpoint_begin, 1);
    EXPECT_EQ(plan.checkpoints()[0].position, 256);
    EXPECT_EQ(plan.checkpoints()[0].state_block, Patched(first, kCsaState)[id.index]);
    EXPECT_EQ(UseOf(*ledger_, kOverlapPool).cached, 1);
  }
}

}  // namespace
}  // namespace terrace::testing
