// What a StepLoop does where blocks are short, on a ledger that serves requests of equal length.

#include "terrace/step_loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/ledger_testing.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

// Feeds prompts in pieces, then decodes. Writes down what the loop asks for.
class Engine : public StepEngine {
 public:
  struct Options {
    int32_t requests = 0;
    int32_t prompt = 0;
    int32_t output = 0;
    int32_t piece = 1000;
  };
  Engine(LedgerFixture& f, const Options& options, int32_t in_flight_plans)
      : loop(*this, in_flight_plans), f_(f), options_(options) {
    for (int32_t i = 0; i < options.requests; ++i) waiting_.push_back(options.prompt);
  }

  // One step; whether there was one.
  bool Step() {
    const absl::StatusOr<std::optional<Plan>> plan = loop.Next();
    EXPECT_TRUE(plan.ok()) << plan.status();
    if (!plan.ok() || !plan->has_value()) return false;
    log += 's';
    for (const Running& sequence : in_step_) Settle(sequence);
    std::erase_if(running_, [&](const Running& sequence) {
      return sequence.fed == options_.prompt + options_.output;
    });
    return true;
  }

  absl::StatusOr<absl::Span<const StepRequest>> NextBatch(int32_t most_running) override {
    while (!waiting_.empty() && num_running() < std::min(most_running, 8)) {
      running_.push_back({f_.Allocate(waiting_.front()), 0, waiting_.front()});
      waiting_.pop_front();
      log += 'a';
    }
    batch_.clear();
    in_step_.clear();
    for (Running& sequence : running_) {
      const int32_t tokens = std::min(options_.piece, sequence.known - sequence.fed);
      batch_.push_back({sequence.id, tokens});
      in_step_.push_back(sequence);
    }
    return batch_;
  }
  int32_t num_running() const override { return static_cast<int32_t>(running_.size()); }
  absl::StatusOr<Plan> Append(absl::Span<const StepRequest> batch) override {
    absl::StatusOr<Plan> plan = f_.ledger->Append(batch);
    if (!plan.ok()) shortages.push_back(plan.status());
    return plan;
  }
  absl::Status Retire(PlanNumber plan) override {
    log += 'r';
    return f_.ledger->Retire(plan);
  }
  absl::Status Preempt() override {
    log += 'p';
    waiting_.push_front(running_.back().known);
    f_.Free(running_.back().id);
    running_.pop_back();
    return absl::OkStatus();
  }
  absl::Status Refuse(const absl::Status& why) override {
    log += 'x';
    if (!refuses) return why;
    f_.Free(running_.back().id);
    running_.pop_back();
    return absl::OkStatus();
  }

  int64_t Count(char what) const { return std::count(log.begin(), log.end(), what); }

  StepLoop loop;
  std::string log;  // a: admitted, p: preempted, r: retired, s: stepped, x: refused
  std::vector<absl::Status> shortages;
  bool refuses = false;

 private:
  struct Running {
    SequenceId id;
    int32_t fed = 0;
    int32_t known = 0;
  };

  void Settle(const Running& in_step) {
    Running& sequence = *std::find_if(running_.begin(), running_.end(),
                                      [&](const Running& r) { return r.id == in_step.id; });
    sequence.fed = f_.Info(sequence.id).length;
    const int32_t all = options_.prompt + options_.output;
    if (sequence.fed == all) {
      f_.Free(sequence.id);
      loop.Finished();
    } else if (sequence.fed == sequence.known) {
      f_.Commit(sequence.id, 1);
      ++sequence.known;
    }
  }

  LedgerFixture& f_;
  const Options options_;
  std::deque<int32_t> waiting_;  // ids known
  std::vector<Running> running_;
  std::vector<StepRequest> batch_;
  std::vector<Running> in_step_;
};

TEST(StepLoopTest, OneSequenceIsPreemptedAndThenPlansAreWaitedFor) {
  LedgerFixture f({.full_blocks = 40}, 2);
  Engine engine(f, {.requests = 4, .prompt = 4000}, 2);
  for (int step = 0; step < 3; ++step) ASSERT_TRUE(engine.Step());
  EXPECT_EQ(engine.log, "aaaassrprs");
  ASSERT_EQ(engine.shortages.size(), 2u);
  const Shortage first = *ShortageOf(engine.shortages[0]),
                 second = *ShortageOf(engine.shortages[1]);
  EXPECT_EQ(first.retire, PlanNumber(0));  // nothing drains: waiting would be in vain
  EXPECT_EQ(first.held_blocks, 32);
  EXPECT_EQ(second.returning_blocks, 8);  // the preempted sequence's
  EXPECT_EQ(second.retire, PlanNumber(2));
  EXPECT_EQ(second.retire_blocks, 8);
  EXPECT_NE(engine.shortages[0].message(), engine.shortages[1].message());
}

TEST(StepLoopTest, NobodyIsAdmittedFromAPreemptionUntilASequenceFinishes) {
  LedgerFixture f({.full_blocks = 12}, 0);
  Engine engine(f, {.requests = 8, .prompt = 400, .output = 200}, 0);
  while (engine.Step()) {
  }
  const size_t preempted = engine.log.find('p');
  ASSERT_NE(preempted, std::string::npos);
  const size_t admitted = engine.log.find('a', preempted);
  ASSERT_NE(admitted, std::string::npos);
  EXPECT_GT(std::count(engine.log.begin() + preempted, engine.log.begin() + admitted, 's'), 100)
      << "those that are left run to their end first";
  EXPECT_EQ(UseOf(*f.ledger, 1).free, 12);
}

TEST(StepLoopTest, FortyRequestsInAFullPoolDoNotThrash) {
  for (const int in_flight : {0, 1, 2, 4}) {
    LedgerFixture f({.full_blocks = 40}, in_flight);
    Engine engine(f, {.requests = 40, .prompt = 2000, .output = 600, .piece = 500}, in_flight);
    while (engine.Step()) {
    }
    ASSERT_TRUE(engine.loop.RetireAll().ok());
    EXPECT_GT(engine.Count('p'), 0);
    EXPECT_LT(engine.Count('p'), 20) << in_flight;
    EXPECT_EQ(engine.Count('a'), 40 + engine.Count('p'));
    EXPECT_EQ(UseOf(*f.ledger, 1).free, 40);
  }
}

TEST(StepLoopTest, PlansAreRetiredAsLateAsAllowed) {
  LedgerFixture f({}, 3);
  Engine engine(f, {.requests = 1, .prompt = 4000, .output = 1}, 3);
  while (engine.Step()) {
  }
  EXPECT_EQ(engine.log, "asssrsrs");
  ASSERT_TRUE(engine.loop.RetireAll().ok());
  EXPECT_EQ(engine.log, "asssrsrsr");
  EXPECT_FALSE(f.ledger->Retire(f.ledger->last_plan()).ok());  // is retired
}

TEST(StepLoopTest, ASequenceAloneThatNeverFitsIsRefused) {
  for (const bool refuses : {false, true}) {
    LedgerFixture f({.full_blocks = 4}, 0);
    Engine engine(f, {.requests = 1, .prompt = 800, .output = 400}, 0);
    engine.refuses = refuses;
    absl::StatusOr<std::optional<Plan>> plan = std::nullopt;
    if (refuses) {
      while (engine.Step()) {
      }
      EXPECT_EQ(f.ledger->num_sequences(), 0);
    } else {
      for (int step = 0; step < 225; ++step) ASSERT_TRUE(engine.Step()) << step;
      plan = engine.loop.Next();
      EXPECT_EQ(plan.status().code(), absl::StatusCode::kOutOfRange);
    }
    EXPECT_EQ(engine.log.back(), 'x');
    EXPECT_EQ(engine.Count('p'), 0);
  }
}

TEST(StepLoopTest, AnErrorThatIsNoShortageEndsTheLoop) {
  LedgerFixture f({}, 0);
  Engine engine(f, {.requests = 1, .prompt = 5000, .piece = 5000}, 0);  // beyond max_step_tokens
  EXPECT_EQ(engine.loop.Next().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace terrace::testing
