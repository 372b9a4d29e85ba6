// BadInputTest has a cache in the middle of its work, and looks whether calls that fail leave all
// of it as it was.

#ifndef TERRACE_TESTS_UNIT_BAD_INPUT_H_
#define TERRACE_TESTS_UNIT_BAD_INPUT_H_

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/use_of.h"

namespace terrace::testing {

inline constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
inline constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();

using enum absl::StatusCode;

// One way to go wrong: what is called, what it must answer, and a word that the answer must hold.
struct BadCall {
  const char* what;
  absl::StatusCode code;
  const char* names;
  std::function<absl::Status()> call;
};

inline void ExpectOneLine(const absl::Status& status, absl::StatusCode code,
                          const std::string& names) {
  EXPECT_EQ(status.code(), code) << status;
  const std::string message(status.message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_NE(message.find(names), std::string::npos) << "no \"" << names << "\" in: " << message;
  EXPECT_GT(message.size(), 10u) << message;
}

// Layers: window only, CSA with an indexer, HCA. On the host backend, so that any memory will do.
class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<ModelSpec> model = MakeModel({.name = "three layers", .ratios = {0, 4, 128}});
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    auto cache = Cache::Create({.model = model_,
                                .memory_bytes = 8 * kMiB,
                                .limits = kLimits,
                                .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
    live_ = cache_->AllocateSequence({.tokens = std::vector<int32_t>(300, 7)})->id;
    drafting_ = cache_->AllocateSequence({.tokens = std::vector<int32_t>(10, 7)})->id;
    stale_ = cache_->AllocateSequence({})->id;
    auto first = cache_->Append({{live_, 300}, {drafting_, 13, 3}, {stale_, 5}});
    ASSERT_TRUE(first.ok()) << first.status();
    first_ = *std::move(first);
    ASSERT_TRUE(cache_->Begin(*first_, {}).ok());
    ASSERT_TRUE(cache_->Write(0, {.swa = {.data = memory_.data(), .rotated = true}}, {}).ok());
    ASSERT_TRUE(cache_->FreeSequence(stale_).ok());
    auto second = cache_->Append({{live_, 1}});
    ASSERT_TRUE(second.ok()) << second.status();
    second_ = *std::move(second);
  }

  // Everything that a call which failed must have left alone.
  struct State {
    std::vector<PoolUse> pools;
    std::vector<SequenceInfo> sequences;
    int32_t num_sequences;
    PlanNumber last_plan;
    uint64_t store_plan;
    int32_t step_rows;
    Counters counters;
    std::vector<uint8_t> pages;
    std::vector<int32_t> tables;
  };

  State Look() const {
    State state;
    const Ledger& ledger = cache_->ledger();
    const Geometry& geometry = ledger.geometry();
    const StepView& view = cache_->store().step_view();
    for (int p = 0; p < geometry.num_pools; ++p) {
      state.pools.push_back(UseOf(ledger, p));
      state.tables.insert(
          state.tables.end(), view.block_table[p],
          view.block_table[p] + geometry.max_sequences * geometry.pools[p].blocks_per_sequence);
      const int layer = p == geometry.overlap_pool ? 1 : p;
      const PageView pages = *cache_->Pages(layer, geometry.pools[p].kind);
      const uint8_t* const base = static_cast<const uint8_t*>(pages.base);
      state.pages.insert(state.pages.end(), base, base + pages.num_blocks * pages.block_stride);
    }
    for (const SequenceId id : {live_, drafting_}) state.sequences.push_back(*ledger.Info(id));
    state.num_sequences = ledger.num_sequences();
    state.last_plan = ledger.last_plan();
    state.store_plan = cache_->store().step().number;
    state.step_rows = cache_->store().step().num_token_rows;
    state.counters = cache_->store().ReadCounters();
    return state;
  }

  static void ExpectSame(const State& a, const State& b) {
    for (size_t p = 0; p < a.pools.size(); ++p) {
      EXPECT_TRUE(a.pools[p] == b.pools[p]) << "pool " << p;
    }
    for (size_t i = 0; i < a.sequences.size(); ++i) {
      EXPECT_TRUE(a.sequences[i] == b.sequences[i]) << i;
    }
    EXPECT_EQ(a.num_sequences, b.num_sequences);
    EXPECT_EQ(a.last_plan, b.last_plan);
    EXPECT_EQ(a.store_plan, b.store_plan);
    EXPECT_EQ(a.step_rows, b.step_rows);
    EXPECT_EQ(std::memcmp(&a.counters, &b.counters, sizeof(Counters)), 0);
    EXPECT_TRUE(a.pages == b.pages) << "the pages changed";
    EXPECT_TRUE(a.tables == b.tables) << "the block tables changed";
  }

  void ExpectErrors(const std::vector<BadCall>& calls) {
    const State before = Look();
    for (const BadCall& bad : calls) {
      SCOPED_TRACE(bad.what);
      ExpectOneLine(bad.call(), bad.code, bad.names);
      ExpectSame(before, Look());
    }
    cache_->ledger().CheckInvariants();
    // And what is right still works.
    EXPECT_TRUE(cache_->Begin(*second_, {}).ok());
    EXPECT_TRUE(cache_->Write(0, {.swa = {.data = memory_.data()}}, {}).ok());
    EXPECT_TRUE(cache_->Commit(live_, {1, 2}).ok());
    EXPECT_TRUE(cache_->Append({{live_, 1}}).ok());
  }

  absl::Status Append(const std::vector<StepRequest>& batch) {
    return cache_->Append(batch).status();
  }

  static constexpr Limits kLimits = {
      .max_sequences = 4, .max_step_tokens = 400, .max_drafts = 4, .max_context_tokens = 2048};
  ModelSpec model_;
  std::unique_ptr<Cache> cache_;
  SequenceId live_, drafting_, stale_;
  std::optional<Plan> first_, second_;  // begun; made but not begun
  // Rows in and out of the calls; never reached by a call that is refused.
  std::vector<uint16_t> memory_ = std::vector<uint16_t>(400 * 130 * 8, 0x3F80);
  std::vector<int32_t> ints_ = std::vector<int32_t>(4096, 0);
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_UNIT_BAD_INPUT_H_
