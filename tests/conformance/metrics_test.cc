// Metrics say what happened, and Prometheus' own parser reads them.

#include "terrace/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::vector<int32_t> Prompt(int32_t count, int32_t first) {
  std::vector<int32_t> tokens(count);
  for (int32_t i = 0; i < count; ++i) tokens[i] = first + i;
  return tokens;
}

// A ledger of 4 sequences and 8 chunks that plans up to 3 steps ahead.
std::unique_ptr<Ledger> MakeLedger() {
  const Geometry geometry = MakeTestGeometry({.full_blocks = 8,
                                              .limits = {.max_sequences = 4,
                                                         .max_step_tokens = 4096,
                                                         .max_drafts = 4,
                                                         .max_context_tokens = 8192}});
  return *Ledger::Create({.geometry = geometry,
                          .in_flight_plans = 3,
                          .prefix = {.record_events = true, .max_events = 2}});
}

SequenceId Start(Ledger& ledger, int32_t tokens, int32_t first) {
  return ledger.AllocateSequence({.tokens = Prompt(tokens, first)})->id;
}

TEST(MetricsTest, SequencesCountByHowTheyEnded) {
  const auto ledger = MakeLedger();
  const auto prompt = Prompt(3, 0);
  std::vector<SequenceId> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(Start(*ledger, 3, 0));
  EXPECT_FALSE(ledger->AllocateSequence({.tokens = prompt}).ok());
  EXPECT_FALSE(ledger->AllocateSequence({.tokens = prompt, .time_to_live_ms = -1}).ok());
  EXPECT_TRUE(ledger->FreeSequence(ids[0]).ok());
  EXPECT_TRUE(ledger->FreeSequence(ids[1], FreeReason::kPreempted).ok());
  EXPECT_FALSE(ledger->FreeSequence(ids[1], FreeReason::kPreempted).ok());
  EXPECT_TRUE(ledger->FreeSequence(ids[2], FreeReason::kCancelled).ok());
  const LedgerMetrics metrics = ledger->metrics();
  EXPECT_EQ(metrics.max_sequences, 4);
  EXPECT_EQ(metrics.sequences, 1);
  EXPECT_EQ(metrics.allocated_sequences, 4);
  EXPECT_EQ(metrics.refused_sequences, 1);
  EXPECT_EQ(metrics.finished_sequences, 1);
  EXPECT_EQ(metrics.preempted_sequences, 1);
  EXPECT_EQ(metrics.cancelled_sequences, 1);
}

TEST(MetricsTest, AShortageCountsAtThePoolThatIsShort) {
  const auto ledger = MakeLedger();
  const SequenceId a = Start(*ledger, 1500, 0);
  const SequenceId b = Start(*ledger, 1000, 5000);
  ASSERT_TRUE(ledger->Append({{{a, 1500}}}).ok());  // 6 of 8 chunks
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = ledger->Append({{{b, 1000}}}).status();
    ASSERT_TRUE(ShortageOf(status).has_value()) << status;
    EXPECT_EQ(ShortageOf(status)->pool, PoolIndex(1));
  }
  // A prompt that never fits.
  EXPECT_TRUE(ShortageOf(ledger->AllocateSequence({.tokens = Prompt(4000, 0)}).status()));
  const LedgerMetrics metrics = ledger->metrics();
  ASSERT_EQ(metrics.pools.size(), 3u);
  EXPECT_EQ(metrics.pools[0].shortages, 0);
  EXPECT_EQ(metrics.pools[1].shortages, 3);
  EXPECT_EQ(metrics.refused_sequences, 0);
  for (int p = 0; p < 3; ++p) EXPECT_EQ(metrics.pools[p].use, *ledger->Use(PoolIndex(p)));
}

TEST(MetricsTest, PlansAreInFlightOrLostEachOnce) {
  const auto ledger = MakeLedger();
  const SequenceId a = Start(*ledger, 600, 0);
  const auto step = [&] { EXPECT_TRUE(ledger->Append({{{a, 1}}}).ok()); };
  for (int i = 0; i < 3; ++i) step();
  EXPECT_EQ(ledger->metrics().plans_in_flight, 3);
  const auto lose = [&](uint64_t first) {
    EXPECT_TRUE(ledger->Abandon(PlanNumber(first)).ok());
    EXPECT_TRUE(ledger->Retire(ledger->last_plan()).ok());
    return ledger->metrics().lost_plans;
  };
  EXPECT_EQ(lose(3), 1);
  step();
  step();
  EXPECT_EQ(lose(5), 2);  // plans 3 and 5
  step();
  EXPECT_EQ(lose(4), 4);  // 3 to 6
  step();
  EXPECT_EQ(lose(2), 6);  // 2 to 7
  EXPECT_TRUE(ledger->Distrust({{{a, 0}}}).ok());
  const LedgerMetrics metrics = ledger->metrics();
  EXPECT_EQ(metrics.plans, 7);
  EXPECT_EQ(metrics.plans_in_flight, 0);
  EXPECT_EQ(metrics.abandons, 4);
  EXPECT_EQ(metrics.distrusts, 1);
  EXPECT_EQ(metrics.restarted_sequences, 5);
}

TEST(MetricsTest, EventsThatNobodyTakesWaitOrAreDropped) {
  const auto ledger = MakeLedger();
  const SequenceId a = Start(*ledger, 600, 0);
  ASSERT_TRUE(ledger->Append({{{a, 600}}}).ok());
  EXPECT_EQ(ledger->metrics().events, 3);
  EXPECT_EQ(ledger->metrics().waiting_events, 2);
  EXPECT_EQ(ledger->metrics().dropped_events, 1);
  ledger->TakeEvents();
  EXPECT_EQ(ledger->metrics().waiting_events, 0);
  EXPECT_EQ(ledger->metrics().dropped_events, 1);
}

TEST(MetricsTest, TheFirstStaleStateIsNamed) {
  StoreMetrics metrics = {.memory_bytes = 5};
  EXPECT_THAT(ToJson(metrics), HasSubstr("\"first_stale_state\": null"));
  metrics.counters.stale_states = 1;
  metrics.counters.first_stale_state =
      internal::PackStaleState({.plan = 7, .layer = 2, .sequence_index = 3, .fed_again = true});
  EXPECT_THAT(ToJson(metrics), HasSubstr(R"("first_stale_state": {"plan": 7, "layer": 2, )"
                                         R"("sequence_index": 3, "fed_again": true})"));
}

// ---- Prometheus' own parser

// The interpreter that scripts/install_python.sh made, or the system's.
std::string Python() {
  const fs::path venv =
      fs::path(TERRACE_TEST_DATA_DIR).parent_path() / "build-venv" / "bin" / "python3";
  return fs::exists(venv) ? venv.string() : "python3";
}

TEST(MetricsTest, TheOfficialParserReadsThemAndJsonHasTheSame) {
  const fs::path script = fs::path(TERRACE_TEST_DATA_DIR) / "conformance" / "parse_metrics.py";
  if (!fs::exists(script)) GTEST_SKIP() << "no source tree: " << script;

  const auto cache = *Cache::Create(
      {.model = *MakeModel(
           {.name = "three layers", .ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16}),
       .memory_bytes = 64 * kMiB,
       .limits = {.max_sequences = 4, .max_context_tokens = 4096},
       .backend = {.kind = BackendKind::kHost, .host_threads = 1},
       .prefix = {.record_events = true}});
  const SequenceId id = cache->AllocateSequence({.tokens = Prompt(600, 0)})->id;
  const absl::StatusOr<Plan> plan = cache->Append({{id, 600}});
  ASSERT_TRUE(plan.ok() && cache->Begin(*plan, {}).ok());
  CacheMetrics metrics = cache->metrics();
  // All counts differ, so that none stands for another.
  metrics.ledger.preempted_sequences = 1001;
  metrics.ledger.cancelled_sequences = 1002;
  metrics.ledger.lost_plans = 1003;
  metrics.ledger.prefix.evicted_blocks[2] = 1004;
  metrics.store.counters.skipped_slots = 1005;
  metrics.store.counters.stale_states = 1006;

  const fs::path text = fs::path(::testing::TempDir()) / "metrics.txt";
  const fs::path json = fs::path(::testing::TempDir()) / "metrics.json";
  std::ofstream(text) << ToPrometheus(metrics);
  std::ofstream(json) << ToJson(metrics);
  const std::string command = absl::StrCat("'", Python(), "' '", script.string(), "' '",
                                           text.string(), "' '", json.string(), "' 2>&1");
  FILE* const pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) output.push_back(static_cast<char>(c));
  const int status = pclose(pipe);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == 77) GTEST_SKIP() << "prometheus_client is not installed: scripts/install_python.sh";
  if (code == 127) GTEST_SKIP() << "python3 is not installed";
  ASSERT_EQ(code, 0) << output;

  std::map<std::string, std::string> samples;
  for (const absl::string_view line : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    ASSERT_EQ(words.size(), 3u) << line;
    samples[absl::StrCat(words[0], " ", words[1])] = words[2];
  }
  const PoolUse use = *cache->Use(PoolIndex(1));
  EXPECT_EQ(samples["terrace_pool_info kind=full,pool=1,ratio=4"], "1");
  EXPECT_EQ(samples["terrace_pool_blocks pool=1,state=live"], absl::StrCat(use.live));
  EXPECT_EQ(samples["terrace_pool_blocks pool=1,state=free"], absl::StrCat(use.free));
  EXPECT_EQ(samples["terrace_pool_capacity_blocks pool=1"], absl::StrCat(use.capacity));
  EXPECT_EQ(samples["terrace_pool_evictable_blocks pool=1,when=now"], "0");
  EXPECT_EQ(samples["terrace_pool_shortages_total pool=1"], "0");
  EXPECT_EQ(samples["terrace_freed_sequences_total reason=preempted"], "1001");
  EXPECT_EQ(samples["terrace_freed_sequences_total reason=cancelled"], "1002");
  EXPECT_EQ(samples["terrace_lost_plans_total -"], "1003");
  EXPECT_EQ(samples["terrace_prefix_evicted_blocks_total pool=2"], "1004");
  EXPECT_EQ(samples["terrace_prefix_stored_chunks_total -"], "2");
  EXPECT_EQ(samples["terrace_store_skipped_slots_total -"], "1005");
  EXPECT_EQ(samples["terrace_store_stale_states_total -"], "1006");
  EXPECT_EQ(samples["terrace_store_memory_bytes -"], absl::StrCat(cache->memory_bytes()));
}

}  // namespace
}  // namespace terrace::testing
