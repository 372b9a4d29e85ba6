// A ledger here, two workers in processes of their own that die or miss plans: no query reads a row
// that was not computed, and what was computed is not computed again.
//
// Run with the argument "worker" this program is one of them.

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "examples/process_scheduler.h"
#include "examples/worker_main.h"
#include "gtest/gtest.h"

namespace terrace::examples {
namespace {

using Tokens = std::vector<int32_t>;

// What must be found of a prompt after plans were lost: the chunks that plans fed which ran.
class MatchOracle {
 public:
  explicit MatchOracle(int32_t chunk_tokens) : chunk_tokens_(chunk_tokens) {}

  // Plan `plan` fed the sequence up to `fed`, or it had these rows before.
  void Feed(const Tokens& tokens, int32_t fed, uint64_t plan) {
    for (int32_t end = chunk_tokens_; end <= fed; end += chunk_tokens_) {
      fed_by_.try_emplace(Tokens(tokens.begin(), tokens.begin() + end), plan);
    }
  }
  void Lose(uint64_t first) {
    std::erase_if(fed_by_, [&](const auto& chunk) { return chunk.second >= first; });
  }
  int32_t Matched(const Tokens& tokens) const {
    int32_t matched = 0;
    for (int32_t end = chunk_tokens_; end < static_cast<int32_t>(tokens.size());
         end += chunk_tokens_) {
      if (!fed_by_.contains(Tokens(tokens.begin(), tokens.begin() + end))) break;
      matched = end;
    }
    return matched;
  }

 private:
  int32_t chunk_tokens_;
  std::map<Tokens, uint64_t> fed_by_;  // [tokens up to a chunk's end] the plan
};

class WorkerRecoveryTest : public ::testing::Test {
 protected:
  void Make(uint64_t seed) {
    auto scheduler = ProcessScheduler::Make(seed);
    ASSERT_TRUE(scheduler.ok()) << scheduler.status();
    scheduler_ = *std::move(scheduler);
    oracle_ = std::make_unique<MatchOracle>(scheduler_->ledger().geometry().chunk_tokens);
    matched_again_ = 0;
  }

  // A step, and all that the oracle has to say about it.
  void Step(Fault fault, int victim) {
    const int recoveries = scheduler_->figures().recoveries;
    const absl::Status status = scheduler_->Step(fault, victim);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(scheduler_->figures().wrong_rows, 0);
    ASSERT_EQ(scheduler_->ledger().prefix_figures().evicted_chunks, 0);
    Ledger& ledger = scheduler_->ledger();
    ledger.CheckInvariants();
    if (scheduler_->figures().recoveries > recoveries) {
      oracle_->Lose(scheduler_->lost_from().value());
      CheckRecovered();
    }
    for (const ProcessScheduler::Running& sequence : scheduler_->running()) {
      oracle_->Feed(sequence.tokens, sequence.fed, ledger.last_plan().value());
    }
    for (const ProcessScheduler::Running& sequence : scheduler_->running()) {
      const auto match = ledger.Probe({.tokens = sequence.tokens});
      ASSERT_TRUE(match.ok()) << match.status();
      EXPECT_EQ(match->matched, oracle_->Matched(sequence.tokens));
    }
  }

  void CheckRecovered() {
    for (const Admission& again : scheduler_->recovered().sequences) {
      for (const ProcessScheduler::Running& sequence : scheduler_->running()) {
        if (sequence.id != again.id) continue;
        EXPECT_EQ(again.match.matched, oracle_->Matched(sequence.tokens));
        matched_again_ += again.match.matched;
      }
    }
  }

  std::unique_ptr<ProcessScheduler> scheduler_;
  std::unique_ptr<MatchOracle> oracle_;
  int64_t matched_again_ = 0;
};

TEST_F(WorkerRecoveryTest, AWorkerThatIsKilledAtStep40ComesBackAndAllIsComputedAgain) {
  Make(40);
  for (int step = 1; step < 40; ++step) {
    Step(Fault::kNone, 0);
    ASSERT_FALSE(HasFatalFailure());
  }
  ASSERT_GT(scheduler_->ledger().prefix_figures().indexed_chunks, 5);
  Step(Fault::kKilled, 1);
  // Where it had answered before it died, the next step finds out.
  if (scheduler_->figures().recoveries == 0) Step(Fault::kNone, 0);
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_EQ(scheduler_->figures().recoveries, 1);
  EXPECT_EQ(scheduler_->lost_from(), PlanNumber(1));
  EXPECT_EQ(scheduler_->ledger().prefix_figures().indexed_chunks, 0);
  EXPECT_EQ(scheduler_->recovered().sequences.size(), scheduler_->running().size());
  for (const ProcessScheduler::Running& sequence : scheduler_->running()) {
    EXPECT_EQ(sequence.fed, 0);
  }
  const int64_t compared = scheduler_->figures().compared_rows;
  for (int step = 0; step < 40; ++step) {
    Step(Fault::kNone, 0);
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_GT(scheduler_->figures().compared_rows, compared + 40'000);
  EXPECT_EQ(scheduler_->figures().deaths, 1);
}

TEST_F(WorkerRecoveryTest, WorkersThatAreKilledAtAnyStepLeaveNoWrongRow) {
  int deaths = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Make(seed);
    std::mt19937_64 random(seed);
    for (int step = 0; step < 60; ++step) {
      const bool kill = random() % 8 == 0;
      Step(kill ? Fault::kKilled : Fault::kNone, static_cast<int>(random() % 2));
      ASSERT_FALSE(HasFatalFailure()) << "step " << step;
    }
    deaths += scheduler_->figures().deaths;
  }
  EXPECT_GT(deaths, 6);
}

TEST_F(WorkerRecoveryTest, AWorkerThatLostMessagesKeepsWhatPlansComputedThatRan) {
  int64_t matched = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Make(seed);
    std::mt19937_64 random(seed);
    for (int step = 0; step < 100; ++step) {
      const bool lose = random() % 6 == 0;
      Step(lose ? Fault::kMessageLost : Fault::kNone, static_cast<int>(random() % 2));
      ASSERT_FALSE(HasFatalFailure()) << "step " << step;
    }
    EXPECT_EQ(scheduler_->figures().deaths, 0);
    EXPECT_GT(scheduler_->figures().recoveries, 5);
    matched += matched_again_;
  }
  EXPECT_GT(matched, 10'000);
}

}  // namespace
}  // namespace terrace::examples

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "worker") {
    return terrace::examples::WorkerMain(argc, argv);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
