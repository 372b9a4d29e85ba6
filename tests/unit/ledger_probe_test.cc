// Ledger::Probe from several threads at once. ThreadSanitizer runs it too.

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "terrace/ledger.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

constexpr int kThreads = 4;
constexpr int kProbes = 200;  // of each thread

std::vector<int32_t> Prompt(int32_t tokens, int32_t first) {
  std::vector<int32_t> prompt(tokens);
  for (int32_t i = 0; i < tokens; ++i) prompt[i] = first + i;
  return prompt;
}

TEST(LedgerProbeTest, ThreadsThatProbeAtOnceFindWhatOneFinds) {
  absl::StatusOr<std::unique_ptr<Ledger>> made =
      Ledger::Create({.geometry = MakeTestGeometry({.window_blocks = 100, .full_blocks = 100})});
  ASSERT_TRUE(made.ok()) << made.status();
  Ledger& ledger = **made;
  // Stored prompts of many lengths, of which each thread asks for one and for what goes beyond it.
  std::vector<std::vector<int32_t>> prompts;
  for (int i = 0; i < 2 * kThreads; ++i) {
    const std::vector<int32_t> prompt = Prompt(300 + 256 * i, 10'000 * i);
    const absl::StatusOr<Admission> admission = ledger.AllocateSequence({.tokens = prompt});
    ASSERT_TRUE(admission.ok()) << admission.status();
    const StepRequest step{.id = admission->id, .tokens = static_cast<int32_t>(prompt.size())};
    ASSERT_TRUE(ledger.Append({&step, 1}).ok());
    ASSERT_TRUE(ledger.FreeSequence(admission->id).ok());
    prompts.push_back(Prompt(static_cast<int32_t>(prompt.size()) + 100, 10'000 * i));
  }
  std::vector<PrefixMatch> expected;
  for (int i = 0; i < 2 * kThreads; ++i) {
    expected.push_back(*ledger.Probe({.tokens = prompts[i]}));
    EXPECT_EQ(expected[i].matched, 256 * (i + 1));
  }
  const std::string before = ToJson(ledger.prefix_figures());

  const Ledger& shared = ledger;
  std::vector<int> wrong(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kProbes; ++i) {
        const size_t which = static_cast<size_t>(t + i) % prompts.size();
        const absl::StatusOr<PrefixMatch> match = shared.Probe({.tokens = prompts[which]});
        wrong[t] += !match.ok() || *match != expected[which];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(kThreads));
  EXPECT_EQ(ToJson(ledger.prefix_figures()), before);
  ledger.CheckInvariants();
}

}  // namespace
}  // namespace terrace::testing
