// Epochs: they differ by themselves, and one that is given makes plans of the same bytes.

#include "src/plan/epoch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <set>

#include "terrace/ledger.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

std::unique_ptr<Ledger> Make(std::optional<uint64_t> epoch) {
  auto ledger = Ledger::Create({.geometry = MakeTestGeometry({}), .epoch = epoch});
  EXPECT_TRUE(ledger.ok()) << ledger.status();
  return *std::move(ledger);
}

TEST(EpochTest, DifferByThemselves) {
  std::set<uint64_t> epochs;
  for (int i = 0; i < 1000; ++i) epochs.insert(internal::NewEpoch());
  EXPECT_EQ(epochs.size(), 1000u);
  EXPECT_NE(Make(std::nullopt)->epoch(), Make(std::nullopt)->epoch());
}

TEST(EpochTest, DifferInAChildOfTheProcess) {
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    const uint64_t epoch = internal::NewEpoch();
    _exit(write(pipes[1], &epoch, sizeof(epoch)) == sizeof(epoch) ? 0 : 1);
  }
  uint64_t of_child = 0;
  ASSERT_EQ(read(pipes[0], &of_child, sizeof(of_child)), sizeof(of_child));
  EXPECT_NE(of_child, internal::NewEpoch());
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  close(pipes[0]);
  close(pipes[1]);
}

TEST(EpochTest, AreOfAllPlansAndGoOnOverAbandon) {
  const auto ledger = Make(std::nullopt);
  const Plan plan = *ledger->Append({});
  EXPECT_EQ(plan.header().epoch, ledger->epoch());
  EXPECT_EQ(ledger->generation(), 1u);
  ASSERT_TRUE(ledger->Abandon(PlanNumber(1)).ok());
  EXPECT_EQ(ledger->generation(), 2u);
  EXPECT_EQ(ledger->Snapshot()->header().epoch, ledger->epoch());
  EXPECT_EQ(ledger->Append({})->header().generation, 2u);
}

TEST(EpochTest, GivenMakeTheSameBytes) {
  for (const uint64_t epoch : {uint64_t{0}, uint64_t{1}, UINT64_MAX}) {
    const auto a = Make(epoch);
    const auto b = Make(epoch);
    EXPECT_EQ(a->epoch(), epoch);
    const SequenceId id = a->AllocateSequence({})->id;
    ASSERT_EQ(b->AllocateSequence({})->id, id);
    EXPECT_EQ(a->Append({{id, 10}})->bytes(), b->Append({{id, 10}})->bytes());
    EXPECT_EQ(a->Snapshot()->bytes(), b->Snapshot()->bytes());
  }
  const auto a = Make(std::nullopt);
  const auto b = Make(std::nullopt);
  EXPECT_NE(a->Append({})->bytes(), b->Append({})->bytes());
}

}  // namespace
}  // namespace terrace::testing
