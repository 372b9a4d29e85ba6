// State pages that are not where a step begins are counted and named over every backend: a layer
// was not compressed, a step ran twice, a restore or a copy did not happen.

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/compress_traffic.h"
#include "tests/support/faulty_backend.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kCsa = CompressDriver::kCsaLayer;
constexpr int kHca = CompressDriver::kHcaLayer;

// A deployment whose steps compress what they are told to.
class Steps {
 public:
  explicit Steps(std::shared_ptr<Backend> backend, bool prefix_reuse = false)
      : faulty_(std::make_shared<FaultyBackend>(std::move(backend))),
        driver_(
            {.prefix_reuse = prefix_reuse, .make_entries = [this](CompressDriver&) { Compress(); }},
            faulty_) {
    std::mt19937_64 random(12);
    for (int i = 0; i < 2; ++i) ids_.push_back(RandomIds(random, kCompressTokens));
  }

  CompressDriver& driver() { return driver_; }
  Ledger& ledger() { return driver_.ledger(); }
  FaultyBackend& faulty() { return *faulty_; }

  // A sequence of the ids of `prompt`, 0 or 1.
  Admission Admit(int prompt, int32_t known = kCompressTokens) {
    const auto ids = absl::MakeConstSpan(ids_[prompt]).first(known);
    auto admission = ledger().AllocateSequence({.tokens = ids});
    EXPECT_TRUE(admission.ok()) << admission.status();
    return *admission;
  }

  // Sequence i of the batch is of prompt i. `layers` are compressed, in this order.
  Plan Run(const std::vector<StepRequest>& batch, std::vector<int> layers = {kCsa, kHca}) {
    auto plan = ledger().Append(batch);
    EXPECT_TRUE(plan.ok()) << plan.status();
    layers_ = std::move(layers);
    driver_.Run(*plan, ids_);
    return *std::move(plan);
  }

  Counters counters() {
    EXPECT_TRUE(faulty_->Synchronize(Stream{}).ok());
    return faulty_->ReadCounters();
  }

 private:
  void Compress() {
    for (const int layer : layers_) {
      const absl::Status status = driver_.store().Compress(layer, driver_.Inputs(layer), Stream{});
      EXPECT_TRUE(status.ok()) << status;
    }
  }

  std::vector<std::vector<int32_t>> ids_;
  std::vector<int> layers_;
  std::shared_ptr<FaultyBackend> faulty_;
  CompressDriver driver_;
};

void ExpectFirst(const Counters& counters, const StaleState& expected) {
  const std::optional<StaleState> first = FirstStaleState(counters);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->plan, expected.plan);
  EXPECT_EQ(first->layer, expected.layer);
  EXPECT_EQ(first->sequence_index, expected.sequence_index);
  EXPECT_EQ(first->fed_again, expected.fed_again);
}

class StaleStateTest : public CompressTest {};
INSTANTIATE_TEST_SUITE_P(Backends, StaleStateTest, kEveryBackend, NameOfBackend);

TEST_P(StaleStateTest, ALayerThatWasNotCompressedIsFoundByItsNextStep) {
  uint64_t found = 0;
  for (const int layer : {kHca, kCsa}) {
    Steps steps(backend_);
    const SequenceId id = steps.Admit(0).id;
    steps.Run({{.id = id, .tokens = 100}});
    steps.Run({{.id = id, .tokens = 1}}, {kCsa + kHca - layer});
    EXPECT_EQ(steps.counters().stale_states, found);
    const Plan plan = steps.Run({{.id = id, .tokens = 1}});
    EXPECT_EQ(steps.counters().stale_states, ++found);
    EXPECT_EQ(plan.number().value(), 3u);
    ExpectFirst(steps.counters(),
                {.plan = 3, .layer = layer, .sequence_index = id.index, .fed_again = false});
    steps.Run({{.id = id, .tokens = 1}});  // once: the page stands where it should by now
    EXPECT_EQ(steps.counters().stale_states, found);
  }
}

TEST_P(StaleStateTest, AStepThatRunsTwiceIsFound) {
  for (const int layer : {kHca, kCsa}) {
    const uint64_t before = backend_->ReadCounters().stale_states;
    Steps steps(backend_);
    const SequenceId id = steps.Admit(0).id;
    // From 0 on nothing is kept, so twice is as good as once.
    steps.Run({{.id = id, .tokens = 100}}, {kCsa, kHca, layer});
    steps.Run({{.id = id, .tokens = 33}});
    EXPECT_EQ(steps.counters().stale_states, before);
    CompressDriver reference({.prefix_reuse = false}, backend_);
    std::mt19937_64 random(12);
    std::vector<int32_t> ids = RandomIds(random, kCompressTokens);
    ids.resize(133);
    EXPECT_EQ(steps.driver().Entries(id.index, 133), reference.OnePass(ids));

    steps.Run({{.id = id, .tokens = 1}}, {kCsa, kHca, layer});
    EXPECT_EQ(steps.counters().stale_states, before + 1);
    ExpectFirst(steps.counters(),
                {.plan = 3, .layer = layer, .sequence_index = id.index, .fed_again = true});
  }
}

TEST_P(StaleStateTest, OfSeveralTheFirstIsNamed) {
  Steps steps(backend_);
  const SequenceId a = steps.Admit(0).id;
  const SequenceId b = steps.Admit(1).id;
  const auto step = [&](std::vector<int> layers) {
    steps.Run({{.id = a, .tokens = 2}, {.id = b, .tokens = 9}}, std::move(layers));
  };
  step({kCsa, kHca});
  step({});
  step({kHca, kCsa});
  step({});
  step({kHca, kCsa});
  EXPECT_EQ(steps.counters().stale_states, 8u);
  ExpectFirst(steps.counters(), {.plan = 3,
                                 .layer = std::min(kCsa, kHca),
                                 .sequence_index = std::min(a.index, b.index),
                                 .fed_again = false});
}

TEST_P(StaleStateTest, DraftsThatWereTakenBackLeaveNoneBehind) {
  Steps steps(backend_);
  std::mt19937_64 random(13);
  const SequenceId id = steps.Admit(0, 120).id;
  steps.Run({{.id = id, .tokens = 119}});
  int32_t length = 119;
  for (int rejected = kCompressDrafts; rejected >= 0; --rejected) {
    steps.Run({{.id = id, .tokens = 1 + kCompressDrafts, .drafts = kCompressDrafts}});
    length += 1 + kCompressDrafts - rejected;
    ASSERT_TRUE(steps.ledger().Truncate(id, length).ok());
    const std::vector<int32_t> accepted = RandomIds(random, 1 + kCompressDrafts - rejected);
    ASSERT_TRUE(steps.ledger().Commit(id, accepted).ok());
  }
  EXPECT_EQ(steps.counters().stale_states, 0u);
}

// The page that a resumed sequence takes was another's, and that a fork takes nobody's.
TEST_P(StaleStateTest, ARestoreOrACopyThatDidNotHappenIsFound) {
  for (const Fault fault : {Fault::kNone, Fault::kRestore, Fault::kCopy}) {
    SCOPED_TRACE(static_cast<int>(fault));
    const uint64_t before = backend_->ReadCounters().stale_states;
    Steps steps(backend_, /*prefix_reuse=*/true);
    const SequenceId first = steps.Admit(0, 600).id;
    steps.Run({{.id = first, .tokens = 599}});
    ASSERT_TRUE(steps.ledger().FreeSequence(first).ok());
    const Admission second = steps.Admit(0, 700);
    EXPECT_EQ(second.length, 512);
    if (fault == Fault::kRestore) steps.faulty().Drop(fault);
    steps.Run({{.id = second.id, .tokens = 50}});
    EXPECT_FALSE(steps.faulty().armed());
    EXPECT_EQ(steps.counters().stale_states - before, fault == Fault::kRestore ? 2 : 0);

    const uint64_t restored = steps.counters().stale_states;
    const SequenceId child = steps.ledger().Fork(second.id).value();
    if (fault == Fault::kCopy) steps.faulty().Drop(fault);
    steps.Run({{.id = child, .tokens = 1}});
    steps.Run({{.id = second.id, .tokens = 1}});
    EXPECT_FALSE(steps.faulty().armed());
    EXPECT_EQ(steps.counters().stale_states - restored, fault == Fault::kCopy ? 2 : 0);
  }
}

TEST_P(StaleStateTest, AStepThatWasCompressedIsNotBegunAgain) {
  Steps steps(backend_);
  Store& store = steps.driver().store();
  const SequenceId id = steps.Admit(0).id;
  for (const std::vector<int>& layers : {std::vector<int>{}, {kHca}}) {
    const Plan plan = steps.Run({{.id = id, .tokens = 10}}, layers);
    ASSERT_TRUE(store.Begin(steps.ledger().Snapshot().value(), Stream{}).ok());
    // As a graph is captured; the snapshot has no rows.
    ASSERT_TRUE(store.Compress(kCsa, steps.driver().Inputs(kCsa, 8), Stream{}).ok());
    const absl::Status again = store.Begin(plan, Stream{});
    if (layers.empty()) {
      EXPECT_TRUE(again.ok()) << again;  // it has folded nothing
      continue;
    }
    EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition) << again;
    EXPECT_THAT(std::string(again.message()),
                HasSubstr("plan 2 was begun and compressed before: its state is folded in place"));
  }
  steps.Run({{.id = id, .tokens = 10}});
}

// Whatever is left out or comes twice, both backends go on alike.
TEST(StaleStateBackendsTest, HostAndCudaCountAndStoreTheSame) {
  const auto cuda = BackendOf(BackendKind::kCuda);
  if (!cuda.ok()) GTEST_SKIP() << cuda.status();
  Steps on_host(*BackendOf(BackendKind::kHost));
  Steps on_device(*cuda);
  Steps* const both[] = {&on_host, &on_device};
  std::mt19937_64 random(14);
  std::vector<SequenceId> ids[2];
  for (int i = 0; i < 2; ++i) {
    for (int prompt = 0; prompt < 2; ++prompt) ids[i].push_back(both[i]->Admit(prompt).id);
  }
  for (int step = 0; step < 100; ++step) {
    const auto tokens = [&] {
      return static_cast<int32_t>(1 + random() % (step % 5 == 0 ? 40 : 4));
    };
    const int32_t counts[2] = {tokens(), tokens()};
    std::vector<int> layers;
    for (const int layer : {kCsa, kHca})
      layers.insert(layers.end(), random() % 8 == 0 ? random() % 2 * 2 : 1, layer);
    for (int i = 0; i < 2; ++i) {
      both[i]->Run({{.id = ids[i][0], .tokens = counts[0]}, {.id = ids[i][1], .tokens = counts[1]}},
                   layers);
    }
    const Counters host = on_host.counters();
    const Counters device = on_device.counters();
    ASSERT_EQ(host.stale_states, device.stale_states) << step;
    ASSERT_EQ(host.first_stale_state, device.first_stale_state) << step;
  }
  EXPECT_GT(on_host.counters().stale_states, 20u);
  for (int sequence = 0; sequence < 2; ++sequence) {
    const int32_t length = on_host.ledger().Info(ids[0][sequence]).value().length;
    EXPECT_EQ(on_host.driver().Entries(ids[0][sequence].index, length),
              on_device.driver().Entries(ids[1][sequence].index, length));
  }
}

TEST(StaleStateNameTest, ComesBackFromItsNumberAndTheEarliestIsTheLargest) {
  EXPECT_FALSE(FirstStaleState({}).has_value());
  const StaleState in_order[] = {
      {1, 0, 0, false}, {1, 0, 0, true},          {1, 0, 7, false},           {1, 3, 2, true},
      {2, 0, 0, true},  {2, 2046, 1048575, true}, {~0u, 2047, 1048575, false}};
  uint64_t last = ~uint64_t{0};
  for (const StaleState& state : in_order) {
    Counters counters;
    counters.first_stale_state = internal::PackStaleState(state);
    EXPECT_LT(counters.first_stale_state, last);
    last = counters.first_stale_state;
    ExpectFirst(counters, state);
  }
  EXPECT_NE(internal::PackStaleState({~0u, 5000, 1048575, true}), 0u);
}

}  // namespace
}  // namespace terrace::testing
