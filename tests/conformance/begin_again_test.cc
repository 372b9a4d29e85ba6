// A plan that is begun again, behind a snapshot: what checkpoints keep is captured once.

#include <cstdint>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/plan/plan_builder.h"
#include "tests/support/compress_driver.h"
#include "tests/support/compress_fixture.h"

namespace terrace::testing {
namespace {

using internal::PlanBuilder;

constexpr int32_t kFrom = 1;   // the state block that the checkpoint is captured from
constexpr int32_t kOther = 2;  // what is copied over it
constexpr int32_t kKept = 0;   // the overlap block that it is captured to

class BeginAgainTest : public CompressTest {
 protected:
  void SetUp() override {
    CompressTest::SetUp();
    if (IsSkipped()) return;
    driver_ = std::make_unique<CompressDriver>(CompressOptions{}, backend_);
    states_ = *store().Pages(CompressDriver::kCsaLayer, PoolKind::kState);
    overlaps_ = *store().Pages(CompressDriver::kCsaLayer, PoolKind::kOverlap);
  }

  Store& store() { return driver_->store(); }

  static uint8_t* BlockOf(const PageView& pages, int32_t block) {
    return static_cast<uint8_t*>(pages.base) + block * pages.block_stride;
  }
  void FillState(int32_t block, uint8_t value) {
    const std::vector<uint8_t> bytes(states_.page_bytes, value);
    const absl::Status filled =
        backend_->Upload(BlockOf(states_, block), bytes.data(), states_.page_bytes, Stream{});
    ASSERT_TRUE(filled.ok()) << filled;
  }
  std::vector<uint8_t> Kept() {
    std::vector<uint8_t> bytes(overlaps_.page_bytes);
    const absl::Status read =
        backend_->Download(bytes.data(), BlockOf(overlaps_, kKept), overlaps_.page_bytes, Stream{});
    EXPECT_TRUE(read.ok()) << read;
    return bytes;
  }
  std::vector<uint8_t> AllOf(uint8_t value) const {
    return std::vector<uint8_t>(overlaps_.page_bytes, value);
  }

  // A sequence's first token. Before it, the checkpoint of a position that settled is captured, and
  // then its state block goes to another sequence.
  Plan Step(uint64_t number) const {
    const Geometry& geometry = driver_->geometry();
    PlanBuilder builder(geometry, PlanKind::kStep, {.sequences = 1, .checkpoints = 1, .copies = 1});
    builder.AddCheckpoint(
        {.sequence_index = 1, .position = 256, .overlap_block = kKept, .state_block = kFrom});
    SequenceStep part{};
    part.count = 1;
    part.settled = 1;
    builder.AddSequence(part);
    builder.AddCopy({CsaStatePool(geometry).value(), kOther, kFrom, 0});
    const Plan plan = std::move(builder).Build(1, PlanNumber(number));
    auto parsed = Plan::Parse(plan.bytes(), geometry);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return *std::move(parsed);
  }
  Plan Snapshot(uint64_t number) const {
    return PlanBuilder(driver_->geometry(), PlanKind::kSnapshot, {}).Build(1, PlanNumber(number));
  }
  void Begin(const Plan& plan) {
    const absl::Status begun = store().Begin(plan, Stream{});
    ASSERT_TRUE(begun.ok()) << begun;
  }

  std::unique_ptr<CompressDriver> driver_;
  PageView states_;
  PageView overlaps_;
};

INSTANTIATE_TEST_SUITE_P(Backends, BeginAgainTest, kEveryBackend, NameOfBackend);

TEST_P(BeginAgainTest, ThePlansCopiesDoNotReachWhatItCaptured) {
  FillState(kFrom, 0x11);
  FillState(kOther, 0x22);
  Begin(Step(1));
  ASSERT_EQ(Kept(), AllOf(0x11));
  // By now the state block holds the other bytes.
  Begin(Snapshot(1));
  Begin(Step(1));
  EXPECT_EQ(Kept(), AllOf(0x11));
  Begin(Snapshot(1));
  Begin(Step(1));
  EXPECT_EQ(Kept(), AllOf(0x11));
}

TEST_P(BeginAgainTest, TheNextPlanCapturesAgain) {
  FillState(kFrom, 0x11);
  FillState(kOther, 0x22);
  Begin(Step(1));
  Begin(Step(2));
  EXPECT_EQ(Kept(), AllOf(0x22));
  FillState(kFrom, 0x33);
  Begin(Step(3));
  EXPECT_EQ(Kept(), AllOf(0x33));
}

}  // namespace
}  // namespace terrace::testing
