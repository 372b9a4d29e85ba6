// What a store refuses: plans it must not run, arguments that cannot be. Nothing changes then.

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/store_fixture.h"

namespace terrace::testing {
namespace {

// Every window and every visible entry of the current step, as slots.
std::vector<int32_t> AllSlots(Backend& backend, Store& store) {
  std::vector<int32_t> all;
  const int32_t queries = store.step().num_token_rows;
  for (int layer = 0; layer < 3; ++layer) {
    BackendArray<int32_t> slots(backend, queries * 128);
    const SlotsOut out = {.slots = slots.data(), .pitch = 128};
    EXPECT_TRUE(store.TranslateWindow(layer, {}, out, Stream{}).ok());
    std::vector<int32_t> found = slots.Read();
    all.insert(all.end(), found.begin(), found.end());
    if (layer == 0) continue;
    EXPECT_TRUE(store.TranslateVisible(layer, {}, 128, out, Stream{}).ok());
    found = slots.Read();
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

TEST_P(StoreTest, PlansRunOnceInOrderAndOnlyOfTheirOwnLedger) {
  SmallDeployment small({}, backend_);
  const Plan first = small.Feed(10);
  const Plan second = small.Continue(3);
  const Plan third = small.Continue(3);
  Store& store = small.store();
  ExpectCode(store.Begin(second, Stream{}), absl::StatusCode::kFailedPrecondition);
  ExpectCode(store.Begin(first, Stream{}), absl::StatusCode::kOk);
  ExpectCode(store.Begin(first, Stream{}), absl::StatusCode::kInvalidArgument);
  ExpectCode(store.Begin(third, Stream{}), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store.step().number, 1u);

  auto other = small.MakeLedger(2);
  auto id = other->AllocateSequence({});
  const Plan foreign = *other->Append({{{.id = id->id}}});
  ExpectCode(store.Begin(foreign, Stream{}), absl::StatusCode::kFailedPrecondition);
  ExpectCode(store.Begin(*other->Snapshot(), Stream{}), absl::StatusCode::kFailedPrecondition);

  SmallDeployment wider({.max_step_tokens = 301}, backend_);
  ExpectCode(store.Begin(wider.Feed(1), Stream{}), absl::StatusCode::kInvalidArgument);

  for (const int32_t padded : {-1, 2, 301}) {
    ExpectCode(store.Begin(second, Stream{}, padded), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(store.step().number, 1u);
  ExpectCode(store.Begin(second, Stream{}), absl::StatusCode::kOk);
  ExpectCode(store.Begin(third, Stream{}), absl::StatusCode::kOk);
}

TEST_P(StoreTest, ASnapshotBringsBackAStoreThatMissedPlans) {
  // Few tokens a step: the snapshot of a long context is larger than any step's plan.
  SmallDeployment small({.max_step_tokens = 20}, backend_);
  const std::unique_ptr<Store> late = small.MakeStore();
  const std::unique_ptr<Store> fresh = small.MakeStore();
  Plan plan = small.Feed(20);
  ExpectCode(small.store().Begin(plan, Stream{}), absl::StatusCode::kOk);
  ExpectCode(late->Begin(plan, Stream{}), absl::StatusCode::kOk);
  for (int i = 0; i < 95; ++i) {
    plan = small.Continue(20);
    ExpectCode(small.store().Begin(plan, Stream{}), absl::StatusCode::kOk);
  }
  ExpectCode(late->Begin(plan, Stream{}), absl::StatusCode::kFailedPrecondition);
  const Plan snapshot = *small.ledger().Snapshot();
  EXPECT_GT(int64_t{snapshot.header().total_bytes}, MaxStepPlanBytes(small.geometry()));
  for (Store* store : {late.get(), fresh.get()}) {
    ExpectCode(store->Begin(snapshot, Stream{}), absl::StatusCode::kOk);
    EXPECT_EQ(store->step().num_token_rows, 0);
  }
  // Seen again it changes nothing; older ones are refused.
  ExpectCode(late->Begin(snapshot, Stream{}), absl::StatusCode::kOk);
  // The step that the snapshot was taken at may still be run, once.
  ExpectCode(late->Begin(plan, Stream{}), absl::StatusCode::kOk);
  EXPECT_EQ(AllSlots(*backend_, *late), AllSlots(*backend_, small.store()));
  ExpectCode(late->Begin(plan, Stream{}), absl::StatusCode::kInvalidArgument);
  plan = small.Continue(19);
  for (Store* store : {&small.store(), late.get(), fresh.get()}) {
    ExpectCode(store->Begin(plan, Stream{}), absl::StatusCode::kOk);
  }
  ExpectCode(late->Begin(snapshot, Stream{}), absl::StatusCode::kInvalidArgument);
  const std::vector<int32_t> expected = AllSlots(*backend_, small.store());
  EXPECT_EQ(AllSlots(*backend_, *late), expected);
  EXPECT_EQ(AllSlots(*backend_, *fresh), expected);
}

TEST_P(StoreTest, CreateRefusesWhatDoesNotFitTheModel) {
  SmallDeployment small({}, backend_);
  const auto create = [&](const ModelSpec& model, const Geometry& geometry, LayerRange layers) {
    return Store::Create({.model = model, .geometry = geometry, .layers = layers}, backend_)
        .status();
  };
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectCode(create(small.model(), small.geometry(), {}), absl::StatusCode::kOk);
  ExpectCode(
      Store::Create({.model = small.model(), .geometry = small.geometry()}, nullptr).status(),
      kInvalid);
  ExpectCode(create(DeepSeekV4Flash(), small.geometry(), {}), kInvalid);
  Geometry geometry = small.geometry();
  geometry.pools[1].ratio = 8;
  ExpectCode(create(small.model(), geometry, {}), kInvalid);
  geometry = small.geometry();
  geometry.num_pools = 1'000;
  ExpectCode(create(small.model(), geometry, {}), kInvalid);
  geometry = small.geometry();
  geometry.pools[0].capacity_blocks = -5;
  ExpectCode(create(small.model(), geometry, {}), kInvalid);
  for (const LayerRange layers :
       {LayerRange{-1, 1}, LayerRange{0, 4}, LayerRange{3, 1}, LayerRange{1, 0}, LayerRange{1, -1},
        LayerRange{2, std::numeric_limits<int32_t>::max()}}) {
    ExpectCode(create(small.model(), small.geometry(), layers), kInvalid);
  }
  // A layer that reads rows of a layer elsewhere.
  ModelSpec shared = small.model();
  shared.layers.push_back({.pools = {{.pool = 1, .index = 0, .writes = false}}, .rope = 1});
  geometry = small.geometry();
  geometry.num_layers = 4;
  ExpectCode(create(shared, geometry, {}), absl::StatusCode::kOk);
  ExpectCode(create(shared, geometry, {2, 2}), kInvalid);
}

TEST_P(StoreTest, NothingRunsBeforeTheFirstStepOrWithoutRopeTables) {
  SmallDeployment small({}, backend_);
  BackendArray<uint16_t> rows(*backend_, 300 * 512);
  const LayerRows swa = {.swa = {.data = rows.data()}};
  constexpr absl::StatusCode kNotYet = absl::StatusCode::kFailedPrecondition;
  ExpectCode(small.store().Write(0, swa, Stream{}), kNotYet);
  ExpectCode(small.store().GatherWindow(0, {}, {.data = rows.data()}, Stream{}), kNotYet);
  auto bare = Store::Create({.model = small.model(), .geometry = small.geometry()}, backend_);
  ASSERT_TRUE(bare.ok());
  ASSERT_TRUE((*bare)->Begin(small.Feed(1), Stream{}).ok());
  ExpectCode((*bare)->Write(0, swa, Stream{}), kNotYet);
  ExpectCode((*bare)->Write(0, {.swa = {.data = rows.data(), .rotated = true}}, Stream{}),
             absl::StatusCode::kOk);
  const RopeTableView table = {reinterpret_cast<const float*>(rows.data()), 4};
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectCode((*bare)->SetRopeTables({table}), kInvalid);  // the model has two
  ExpectCode((*bare)->SetRopeTables({table, {table.data, 0}}), kInvalid);
  ExpectCode((*bare)->SetRopeTables({table, {nullptr, 4}}), kInvalid);
  ExpectCode((*bare)->SetRopeTables({table, {table.data + 1, 4}}), kInvalid);
}

TEST_P(StoreTest, TheGlobalScaleIsFixedOnceRowsAreWritten) {
  SmallDeployment small({.latent = RowFormat::kNvfp4, .rope_before_store = false}, backend_);
  Store& store = small.store();
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  for (const float bad : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    ExpectCode(store.SetGlobalScale(1, PoolKind::kFull, bad), kInvalid);
  }
  ExpectCode(store.SetGlobalScale(0, PoolKind::kFull, 1), kInvalid);
  ExpectCode(store.SetGlobalScale(3, PoolKind::kWindow, 1), kInvalid);
  ExpectCode(store.SetGlobalScale(0, PoolKind::kWindow, 0.5f), absl::StatusCode::kOk);
  ASSERT_TRUE(store.Begin(small.Feed(2), Stream{}).ok());
  BackendArray<uint16_t> rows(*backend_, 2 * 512);
  ExpectCode(store.Write(0, {.swa = {.data = rows.data()}}, Stream{}), absl::StatusCode::kOk);
  ExpectCode(store.SetGlobalScale(0, PoolKind::kWindow, 0.5f),
             absl::StatusCode::kFailedPrecondition);
  ExpectCode(store.SetGlobalScale(1, PoolKind::kWindow, 0.5f), absl::StatusCode::kOk);
}

TEST_P(StoreTest, BadArgumentsAreErrorsAndChangeNothing) {
  SmallDeployment small({}, backend_);
  Store& store = small.store();
  ASSERT_TRUE(store.Begin(small.Feed(260), Stream{}).ok());
  const std::vector<uint8_t> before = small.PoolBytes();
  BackendArray<uint16_t> memory(*backend_, 300 * 512);
  BackendArray<int32_t> ints(*backend_, 300 * 128);
  uint16_t* const data = memory.data();
  int32_t* const slots = ints.data();
  const auto bad = [](const absl::Status& status) {
    ExpectCode(status, absl::StatusCode::kInvalidArgument);
  };
  constexpr int32_t kMost = std::numeric_limits<int32_t>::max();

  for (const int layer : {-1, 3, kMost}) {
    bad(store.Write(layer, {.swa = {.data = data}}, {}));
    bad(store.Write(layer, {}, {}));
    bad(store.TranslateWindow(layer, {}, {.slots = slots}, {}));
    bad(store.GatherVisible(layer, {}, 4, {.data = data}, {}));
    bad(store.Pages(layer, PoolKind::kWindow).status());
  }
  bad(store.Write(0, {.entries = {.data = data}}, {}));  // no such pool
  bad(store.Write(2, {.indexer = {.data = data}}, {}));  // no such plane
  bad(store.Pages(0, PoolKind::kFull).status());
  bad(store.Pages(2, PoolKind::kFull, PlaneKind::kIndexer).status());
  bad(store.Pages(2, PoolKind::kFull, static_cast<PlaneKind>(-1)).status());
  bad(store.Pages(2, static_cast<PoolKind>(4)).status());
  // The overlap pool has no rows: pages alone, of the layers whose entries overlap.
  bad(store.Pages(2, PoolKind::kOverlap).status());
  bad(store.Pages(1, PoolKind::kOverlap, PlaneKind::kIndexer).status());
  bad(store.SetGlobalScale(1, PoolKind::kOverlap, 1));
  bad(store.WriteSlots(1, PoolKind::kOverlap, PlaneKind::kLatent, {.data = data},
                       {.slots = slots, .positions = slots, .count = 1}, {}));
  bad(store.ReadSlots(1, PoolKind::kOverlap, PlaneKind::kLatent, {.slots = slots, .count = 1},
                      {.data = data}, {}));
  for (const RowsIn& rows :
       {RowsIn{.data = data + 1}, RowsIn{.data = data, .pitch = 504},
        RowsIn{.data = data, .pitch = 513}, RowsIn{.data = data, .pitch = -8},
        RowsIn{.data = data, .capacity = 259}, RowsIn{.data = data, .capacity = 301},
        RowsIn{.data = data, .capacity = -1}}) {
    bad(store.Write(1, {.swa = rows}, {}));
    // What is right beside it is not written either.
    bad(store.Write(1, {.swa = rows, .entries = {.data = data}}, {}));
  }

  bad(store.TranslateWindow(0, {.count = -1}, {.slots = slots}, {}));
  bad(store.TranslateWindow(0, {}, {}, {}));
  bad(store.TranslateWindow(0, {}, {.slots = slots, .pitch = 127}, {}));
  bad(store.TranslateVisible(0, {}, 4, {.slots = slots}, {}));
  for (const int32_t rows : {0, -1, kMost}) {
    bad(store.TranslateVisible(1, {}, rows, {.slots = slots}, {}));
    bad(store.TranslateTopK(1, {}, {.entries = slots, .k = rows}, {.slots = slots}, {}));
    bad(store.GatherTopK(1, {}, {.entries = slots, .k = rows}, {.data = data}, {}));
  }
  bad(store.TranslateTopK(1, {}, {.entries = nullptr, .k = 4}, {.slots = slots}, {}));
  bad(store.TranslateTopK(1, {}, {.entries = slots, .pitch = 3, .k = 4}, {.slots = slots}, {}));

  for (const RowsOut& out :
       {RowsOut{.data = nullptr}, RowsOut{.data = data + 1},
        RowsOut{.data = data, .row_pitch = 511}, RowsOut{.data = data, .row_pitch = 516},
        RowsOut{.data = data, .row_pitch = -512}, RowsOut{.data = data, .query_pitch = 512},
        RowsOut{.data = data, .query_pitch = 4},
        RowsOut{.data = data, .row_pitch = int64_t{1} << 62},
        RowsOut{.data = data, .rotate = true}}) {
    bad(store.GatherWindow(0, {}, out, {}));
    bad(store.GatherVisible(1, {}, 4, out, {}));
  }
  bad(store.GatherVisible(2, {}, 4, {.data = data}, {}, PlaneKind::kIndexer));

  const auto write = [&](const RowsIn& rows, const int32_t* at, const int32_t* positions,
                         int32_t n) {
    return store.WriteSlots(1, PoolKind::kFull, PlaneKind::kLatent, rows,
                            {.slots = at, .positions = positions, .count = n}, {});
  };
  bad(write({.data = data}, slots, nullptr, 1));  // rotates, but where?
  bad(write({.data = data}, nullptr, slots, 1));
  bad(write({}, slots, slots, 1));
  bad(write({.data = data}, slots, slots, -1));
  const auto read = [&](const RowsOut& out, const int32_t* at, int32_t n) {
    return store.ReadSlots(1, PoolKind::kFull, PlaneKind::kLatent, {.slots = at, .count = n}, out,
                           {});
  };
  bad(read({.data = data}, nullptr, 1));
  bad(read({}, slots, 1));
  bad(read({.data = data}, slots, -1));

  for (const BlockCopy& copy :
       {BlockCopy{4, 0, 1, 0}, BlockCopy{-1, 0, 1, 0}, BlockCopy{0, 30, 1, 0},
        BlockCopy{0, 0, -1, 0}, BlockCopy{0, 2, 2, 0}, BlockCopy{3, 0, 6, 0},
        BlockCopy{0, 2, 3, 1}}) {
    bad(store.CopyBlocks({copy}, {}));
  }
  bad(store.CopyBlocks({{0, 1, 2, 0}, {0, 2, 3, 0}}, {}));
  bad(store.CopyBlocks({{0, 1, 2, 0}, {0, 3, 2, 0}}, {}));

  EXPECT_TRUE(small.PoolBytes() == before);
  EXPECT_EQ(memory.Read(), std::vector<uint16_t>(300 * 512, 0));
  const Counters counters = store.ReadCounters();
  EXPECT_EQ(counters.skipped_slots + counters.skipped_entries + counters.nonfinite_values, 0u);
}

TEST_P(StoreTest, NothingToDoIsNoError) {
  SmallDeployment small({}, backend_);
  Store& store = small.store();
  ASSERT_TRUE(store.Begin(small.Feed(3), Stream{}).ok());  // closes no entry
  BackendArray<uint16_t> rows(*backend_, 3 * 512);
  const std::vector<uint8_t> before = small.PoolBytes();
  const absl::StatusCode ok = absl::StatusCode::kOk;
  ExpectCode(store.Write(1, {}, {}), ok);
  ExpectCode(
      store.Write(1, {.entries = {.data = rows.data()}, .indexer = {.data = rows.data()}}, {}), ok);
  ExpectCode(store.CopyBlocks({}, {}), ok);
  ExpectCode(store.WriteSlots(1, PoolKind::kFull, PlaneKind::kLatent, {.rotated = true},
                              {.slots = nullptr, .count = 0}, {}),
             ok);
  ExpectCode(store.ReadSlots(1, PoolKind::kFull, PlaneKind::kLatent, {.slots = nullptr, .count = 0},
                             {}, {}),
             ok);
  BackendArray<int32_t> none(*backend_, 1);
  ExpectCode(store.GatherWindow(0, {.token_rows = none.data(), .count = 0}, {}, {}), ok);
  EXPECT_TRUE(small.PoolBytes() == before);
}

}  // namespace
}  // namespace terrace::testing
