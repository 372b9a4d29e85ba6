// A Begin that fails half way: the store refuses everything until it begins a snapshot, and then all
// that it stores is right, whichever of the calls that a Begin enqueues failed.

#include <array>
#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/compress_traffic.h"
#include "tests/support/faulty_backend.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

// Says why the store is torn, and in every call that enqueues.
void ExpectTorn(CompressDriver& driver, const Plan& plan) {
  Store& store = driver.store();
  BackendArray<int32_t> slots(driver.backend(), 1);
  BackendArray<uint16_t> rows(driver.backend(), kLatentChannels);
  const SlotsOut out = {.slots = slots.data(), .pitch = 128};
  const std::array<absl::Status, 6> refused = {
      store.Begin(plan, Stream{}),
      store.Write(0, {.swa = {.data = rows.data()}}, Stream{}),
      store.TranslateWindow(0, {}, out, Stream{}),
      store.Compress(CompressDriver::kCsaLayer, driver.Inputs(CompressDriver::kCsaLayer), Stream{}),
      store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent, {.slots = slots.data(), .count = 1},
                      {.data = rows.data()}, Stream{}),
      store.CopyBlocks({}, Stream{})};
  for (const absl::Status& status : refused) {
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("begin a Snapshot() of the ledger before anything else"));
  }
}

class BeginFaultTest : public CompressTest {};

INSTANTIATE_TEST_SUITE_P(Backends, BeginFaultTest, kEveryBackend, NameOfBackend);

TEST_P(BeginFaultTest, WhicheverCallFailsASnapshotMakesAllRight) {
  std::array<int, kNumFaults> fired = {};
  for (int seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(seed);
    const auto faulty = std::make_shared<FaultyBackend>(backend_);
    int turn = seed;
    CompressOptions options;
    options.begin = [&](CompressDriver& driver, const Plan& plan) {
      auto fault = static_cast<Fault>(turn++ % kNumFaults);
      if (plan.num_settled_checkpoints() > 0 && turn % 3 != 0) fault = Fault::kCapture;
      faulty->Arm(fault, turn % 2 == 0);
      absl::Status status = driver.store().Begin(plan, Stream{});
      const bool in_plan = !faulty->armed() && fault != Fault::kNone;
      if (in_plan) {
        ++fired[static_cast<int>(fault)];
        EXPECT_THAT(std::string(status.message()), HasSubstr("injected"));
        ExpectTorn(driver, plan);
      } else if (fault != Fault::kUpload && fault != Fault::kPatch) {
        faulty->Arm(Fault::kNone, false);
        return status;  // the plan has no such call
      }
      // Uploads and patches are what a snapshot has: it fails first, then it is begun again.
      auto snapshot = driver.ledger().Snapshot();
      if (!snapshot.ok()) return snapshot.status();
      status = driver.store().Begin(*snapshot, Stream{});
      if (!in_plan && !faulty->armed()) {
        ++fired[static_cast<int>(fault)];
        ExpectTorn(driver, plan);
        status = driver.store().Begin(*snapshot, Stream{});
      }
      faulty->Arm(Fault::kNone, false);
      return status.ok() ? driver.store().Begin(plan, Stream{}) : status;
    };
    CompressTraffic traffic(options, faulty, seed);
    for (int i = 0; i < 300 && !HasFailure(); ++i) traffic.Act();
    traffic.FreeAll();
    EXPECT_GT(traffic.figures().checks, 10);
  }
  for (int fault = 1; fault < kNumFaults; ++fault) EXPECT_GT(fired[fault], 0) << fault;
}

}  // namespace
}  // namespace terrace::testing
