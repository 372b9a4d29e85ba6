// The sentences of ledger.h, one test each. Shortages and plans in flight have
// ledger_shortage_test.cc, the window rule ledger_window_test.cc, random operations
// ledger_model_test.cc.

#include "terrace/ledger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/ledger_testing.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

TEST(LedgerTest, AStepFeedsTokensAndKnowsWhichAreSettled) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(300);
  EXPECT_EQ(f.Info(a).known, 300);
  EXPECT_EQ(f.Info(a).length, 0);
  EXPECT_EQ(f.Info(a).settled, 0);
  f.Append({{a, 200}});
  EXPECT_EQ(f.Info(a).settled, 200);
  f.Append({{a, 100}});
  f.Append({{a, 1}});  // fed ahead of its id
  EXPECT_EQ(f.Info(a).length, 301);
  EXPECT_EQ(f.Info(a).settled, 300);
  f.Commit(a, 2);  // its id, and the one sampled after it
  EXPECT_EQ(f.Info(a).settled, 301);
  EXPECT_EQ(f.Info(a).known, 302);
}

TEST(LedgerTest, APlanSaysWhatTheStepIs) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(300);
  const SequenceId b = f.Allocate(10);
  f.Append({{b, 10}});
  const Plan plan = f.Append({{b, 5, 4}, {a, 300}});
  EXPECT_EQ(plan.number(), PlanNumber(2));
  EXPECT_EQ(plan.header().epoch, 9u);
  EXPECT_EQ(plan.header().fingerprint, Fingerprint(f.geometry));
  EXPECT_FALSE(plan.is_snapshot());
  ASSERT_EQ(plan.sequences().size(), 2u);  // in the batch's order
  const SequenceStep& draft = plan.sequences()[0];
  EXPECT_EQ(draft.sequence_index, f.Info(b).index);
  EXPECT_EQ(draft.first, 10);
  EXPECT_EQ(draft.count, 5);
  EXPECT_EQ(draft.drafts, 4);
  EXPECT_EQ(draft.settled, 10);
  EXPECT_EQ(draft.token_row, 0);
  const SequenceStep& prefill = plan.sequences()[1];
  EXPECT_EQ(prefill.sequence_index, f.Info(a).index);
  EXPECT_EQ(prefill.settled, 300);  // prompt ids are final before they have rows
  EXPECT_EQ(prefill.token_row, 5);
  EXPECT_EQ(prefill.entry_row[1], 1);  // tokens 10..14 close entry 2 of ratio 4
  EXPECT_EQ(plan.header().num_entry_rows[1], 76);
  EXPECT_EQ(plan.header().num_entry_rows[2], 2);
  EXPECT_TRUE(Plan::Parse(plan.bytes(), f.geometry).ok());
}

TEST(LedgerTest, AChunkTakesOneBlockOfEveryFullPoolAtItsFirstToken) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1}});
  EXPECT_EQ(f.Live(1), 1);
  EXPECT_EQ(f.Live(2), 1);
  f.Append({{a, 255}});
  EXPECT_EQ(f.Live(1), 1);
  EXPECT_EQ(f.Live(2), 1);
  const Plan plan = f.Append({{a, 1}});
  EXPECT_EQ(f.Live(1), 2);
  EXPECT_EQ(f.Live(2), 2);
  EXPECT_EQ(f.PatchedIndices(plan, 1), (std::vector<int32_t>{1}));
  EXPECT_EQ(f.PatchedIndices(plan, 2), (std::vector<int32_t>{1}));
}

TEST(LedgerTest, TheCostOfAPrefillChunkIsItsBlocksNotItsTokens) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  const Plan plan = f.Append({{a, 4096}});
  // One sequence step, 16 chunks of two pools and the window's blocks; nothing a token.
  EXPECT_EQ(plan.patches().size(), 2u * 16 + 2);
  EXPECT_EQ(plan.bytes().size(), 128u + 64 + 34 * 16);
}

TEST(LedgerTest, AllocatingTakesAnIndexAndNoBlock) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(1000);
  EXPECT_EQ(f.ledger->num_sequences(), 1);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Live(p), 0);
  EXPECT_EQ(f.Info(a).index, 0);
}

TEST(LedgerTest, MoreSequencesThanMaxSequencesAreAShortage) {
  LedgerFixture f({});
  for (int i = 0; i < 8; ++i) f.Allocate(0);
  const absl::Status status = f.ledger->AllocateSequence({}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("all 8 sequence indices are taken"));
}

TEST(LedgerTest, APromptBeyondTheContextIsRefused) {
  LedgerFixture f({});
  const std::vector<int32_t> prompt(8193);
  EXPECT_EQ(f.ledger->AllocateSequence({prompt}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger->num_sequences(), 0);
}

TEST(LedgerTest, AStaleHandleIsNeverAnotherSequence) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(10);
  f.Append({{a, 10}});
  f.Free(a);
  const SequenceId b = f.Allocate(10);
  EXPECT_EQ(a.index, b.index);  // sequences are reused last freed first
  EXPECT_NE(a, b);
  EXPECT_EQ(f.ledger->Append({{a, 1}}).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger->Commit(a, {}).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger->Truncate(a, 0).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger->FreeSequence(a).code(), StatusCode::kNotFound);
  EXPECT_EQ(f.ledger->Info(a).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(f.Info(b).known, 10);
}

TEST(LedgerTest, AHandleThatWasNeverGivenIsNotFound) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  for (const SequenceId id : {SequenceId{}, SequenceId{-1, 1}, SequenceId{8, 1}, SequenceId{7, 0},
                              SequenceId{7, 1}, SequenceId{a.index, a.generation + 1},
                              SequenceId{INT32_MIN, 0}, SequenceId{INT32_MAX, 1}}) {
    EXPECT_EQ(f.ledger->Info(id).status().code(), StatusCode::kNotFound) << id.index;
    EXPECT_EQ(f.ledger->FreeSequence(id).code(), StatusCode::kNotFound) << id.index;
  }
}

TEST(LedgerTest, TheUseOfAPoolThatIsNotThereIsRefused) {
  const LedgerFixture f({});
  ASSERT_EQ(f.geometry.num_pools, 3);
  EXPECT_EQ(f.ledger->Use(PoolIndex(2))->capacity, 100);
  for (const int pool : {-1, 3, 99, INT32_MIN, INT32_MAX}) {
    const absl::Status status = f.ledger->Use(PoolIndex(pool)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("pool ", pool, " is not")));
    EXPECT_THAT(status.message(), HasSubstr("3 pools"));
  }
}

TEST(LedgerTest, FreeingASequenceFreesAllItsBlocksAtOnce) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 1000}});
  f.Append({{a, 500}});
  f.Free(a);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(UseOf(*f.ledger, p).free, 100);
  EXPECT_EQ(f.ledger->num_sequences(), 0);
  EXPECT_EQ(f.ledger->FreeSequence(a).code(), StatusCode::kNotFound);
}

struct BadStep {
  const char* message;
  StatusCode code;
  std::vector<StepRequest> batch;
};

TEST(LedgerTest, ABadBatchIsRefusedAndChangesNothing) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(10);
  const SequenceId b = f.Allocate(10);
  const SequenceId drafting = f.Allocate(10);
  f.Append({{a, 10}, {b, 10}, {drafting, 12, 2}});
  const StepRequest good{b, 700};
  const std::vector<BadStep> steps = {
      {"is in the batch twice", StatusCode::kInvalidArgument, {good, {a, 1}, {a, 1}}},
      {"no sequence has the handle", StatusCode::kNotFound, {good, {SequenceId{0, 99}, 1}}},
      {"tokens is 0, not in 1..8182", StatusCode::kInvalidArgument, {good, {a, 0}}},
      {"tokens is -1", StatusCode::kInvalidArgument, {good, {a, -1}}},
      {"tokens is 8183", StatusCode::kInvalidArgument, {good, {a, 8183}}},
      {"tokens is 2147483647", StatusCode::kInvalidArgument, {good, {a, INT32_MAX}}},
      {"more tokens than max_step_tokens", StatusCode::kInvalidArgument, {good, {a, 3397}}},
      {"drafts is -1", StatusCode::kInvalidArgument, {good, {a, 3, -1}}},
      {"drafts is 4, not in 0..3", StatusCode::kInvalidArgument, {good, {a, 3, 4}}},
      {"drafts is 5, not in 0..4", StatusCode::kInvalidArgument, {good, {a, 9, 5}}},
      {"2 undecided drafts", StatusCode::kFailedPrecondition, {good, {drafting, 1}}},
  };
  for (const BadStep& step : steps) {
    const std::string before = f.Dump();
    const absl::Status status = f.ledger->Append(step.batch).status();
    EXPECT_EQ(status.code(), step.code) << step.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(step.message));
    EXPECT_EQ(status.message().find('\n'), std::string::npos);
    EXPECT_FALSE(ShortageOf(status).has_value());
    EXPECT_EQ(f.Dump(), before) << step.message;
  }
}

TEST(LedgerTest, TokensBeyondTheContextAreRefused) {
  LedgerFixture f({});
  const std::vector<int32_t> tokens(4), prompt(8190);
  const SequenceId a = f.ledger->AllocateSequence({.tokens = prompt, .ids_ahead = true})->id;
  EXPECT_EQ(f.ledger->Commit(a, tokens).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.Info(a).known, 8190);
  f.Commit(a, 3);
  EXPECT_EQ(f.Info(a).known, 8193);
}

TEST(LedgerTest, DraftsAreDecidedBeforeTheNextStep) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(10);
  f.Append({{a, 10}});
  f.Commit(a, 1);
  f.Append({{a, 5, 4}});
  EXPECT_EQ(f.Info(a).undecided_drafts, 4);
  // One of four accepted: three rows are taken back, then the accepted id and the sampled one.
  f.Truncate(a, 12);
  EXPECT_EQ(f.Info(a).undecided_drafts, 1);
  f.Commit(a, 2);
  EXPECT_EQ(f.Info(a).undecided_drafts, 0);
  EXPECT_EQ(f.Info(a).length, 12);
  EXPECT_EQ(f.Info(a).known, 13);
  f.Append({{a, 5, 4}});
  f.Commit(a, 5);  // all accepted
  EXPECT_EQ(f.Info(a).undecided_drafts, 0);
  f.Append({{a, 1}});
}

TEST(LedgerTest, OnlyUndecidedDraftsAreTakenBack) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(10);
  f.Append({{a, 14, 3}});  // rows 10 is neither settled nor a draft, 11..13 are drafts
  EXPECT_EQ(f.ledger->Truncate(a, 15).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger->Truncate(a, 10).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(f.ledger->Truncate(a, -1).code(), StatusCode::kInvalidArgument);
  f.Truncate(a, 14);  // nothing to take back, nothing wrong
  f.Truncate(a, 13);
  f.Commit(a, 2);  // row 11 is settled now
  const absl::Status status = f.ledger->Truncate(a, 11);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not in 12..13"));
  f.Truncate(a, 12);
  EXPECT_EQ(f.Info(a).length, 12);
}

TEST(LedgerTest, RollbackFreesTheChunkThatOnlyDraftsHadBegun) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(254);
  f.Append({{a, 254}});
  f.Append({{a, 5, 4}});  // rows 254..258 cross into chunk 1
  EXPECT_EQ(f.Live(1), 2);
  f.Truncate(a, 257);  // row 256 stays
  EXPECT_EQ(f.Live(1), 2);
  f.Truncate(a, 256);
  EXPECT_EQ(f.Live(1), 1);
  EXPECT_EQ(f.Live(2), 1);
  f.Commit(a, 2);
  const Plan plan = f.Append({{a, 1}});
  EXPECT_EQ(f.PatchedIndices(plan, 1), (std::vector<int32_t>{1}));
  EXPECT_EQ(plan.sequences()[0].first, 256);
}

TEST(LedgerTest, ASequenceCanTakeBackAllItsRows) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 4, 4}});
  f.Truncate(a, 0);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Live(p), 0);
  f.Append({{a, 4, 4}});
  for (int p = 0; p < 3; ++p) EXPECT_EQ(f.Live(p), 1);
}

TEST(LedgerTest, ASnapshotHoldsEveryTableAndIsNoStep) {
  LedgerFixture f({});
  const SequenceId a = f.Allocate(0);
  const SequenceId gone = f.Allocate(0);
  const Plan first = f.Append({{a, 300}, {gone, 900}});
  f.Free(gone);
  const absl::StatusOr<Plan> snapshot = f.ledger->Snapshot();
  ASSERT_TRUE(snapshot.ok());
  EXPECT_TRUE(snapshot->is_snapshot());
  EXPECT_EQ(snapshot->number(), PlanNumber(1));
  EXPECT_TRUE(snapshot->sequences().empty());
  EXPECT_TRUE(Plan::Parse(snapshot->bytes(), f.geometry).ok());
  std::vector<std::vector<int32_t>> got, want;
  for (const BlockPatch& p : snapshot->patches())
    got.push_back({p.pool, p.sequence_index, p.index, p.block});
  for (const BlockPatch& p : first.patches()) {
    if (p.sequence_index == a.index) want.push_back({p.pool, p.sequence_index, p.index, p.block});
  }
  EXPECT_THAT(got, ::testing::UnorderedElementsAreArray(want));
  EXPECT_EQ(f.ledger->last_plan(), PlanNumber(1));
  EXPECT_EQ(f.Append({{a, 1}}).number(), PlanNumber(2));
}

TEST(LedgerTest, TheSameCallsMakeTheSamePlans) {
  LedgerFixture f({}), g({});
  for (int round = 0; round < 3; ++round) {
    for (LedgerFixture* l : {&f, &g}) l->Allocate(100 * round);
  }
  for (int step = 0; step < 50; ++step) {
    const std::vector<StepRequest> batch = {{SequenceId{0, 1}, 1 + step}, {SequenceId{2, 1}, 77}};
    const Plan a = f.Append(batch), b = g.Append(batch);
    ASSERT_EQ(a.bytes(), b.bytes());
  }
}

TEST(LedgerTest, AModelWithoutAWindowHasFullPoolsAlone) {
  Geometry geometry = MakeTestGeometry();
  geometry.pools[0] = geometry.pools[2];
  geometry.num_pools = 2;
  geometry.window_pool = -1;
  geometry.pools[2] = {};
  LedgerFixture f(0, geometry);
  const SequenceId a = f.Allocate(0);
  f.Append({{a, 300}});
  f.Append({{a, 3, 2}});
  f.Truncate(a, 301);
  EXPECT_EQ(f.Live(0), 2);
  EXPECT_EQ(f.Live(1), 2);
  f.Free(a);
  EXPECT_EQ(f.Live(0), 0);
}

TEST(LedgerTest, AGeometryThatNobodyMadeIsRefused) {
  const Geometry good = MakeTestGeometry();
  const std::vector<std::function<void(Geometry&)>> faults = {
      [](Geometry& g) { g.num_pools = 0; },
      [](Geometry& g) { g.num_pools = kMaxPools + 1; },
      [](Geometry& g) { g.window_pool = 1; },
      [](Geometry& g) { g.window_pool = -2; },
      [](Geometry& g) { g.window_tokens = 0; },
      [](Geometry& g) { g.chunk_tokens = 0; },
      [](Geometry& g) { g.max_sequences = 0; },
      [](Geometry& g) { g.max_step_tokens = 0; },
      [](Geometry& g) { g.max_drafts = -1; },
      [](Geometry& g) { g.max_context_tokens = 0; },
      [](Geometry& g) { g.max_context_tokens = INT32_MAX; },
      [](Geometry& g) { g.store_whole_chunk = 2; },
      [](Geometry& g) { g.pools[0].kind = static_cast<PoolKind>(9); },
      [](Geometry& g) { g.pools[1].kind = PoolKind::kWindow; },
      [](Geometry& g) { g.pools[1].rule = static_cast<EntryRule>(9); },
      [](Geometry& g) { g.pools[1].ratio = 0; },
      [](Geometry& g) { g.pools[1].entries_per_block = 63; },
      [](Geometry& g) { g.pools[1].log2_entries_per_block = 40; },
      [](Geometry& g) { g.pools[1].tokens_per_block = 128; },
      [](Geometry& g) { g.pools[1].capacity_blocks = 0; },
      [](Geometry& g) { g.pools[1].capacity_blocks = 1 << 30; },
      [](Geometry& g) { g.pools[1].blocks_per_sequence = 1; },
  };
  EXPECT_TRUE(Ledger::Create({.geometry = good}).ok());
  for (size_t i = 0; i < faults.size(); ++i) {
    Geometry bad = good;
    faults[i](bad);
    EXPECT_EQ(Ledger::Create({.geometry = bad}).status().code(), StatusCode::kInvalidArgument) << i;
  }
  EXPECT_EQ(Ledger::Create({.geometry = good, .in_flight_plans = -1}).status().code(),
            StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace terrace::testing
