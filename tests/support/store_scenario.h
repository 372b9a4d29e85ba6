// Random deployments and random traffic through a real ledger, told by a seed alone.

#ifndef TERRACE_TESTS_SUPPORT_STORE_SCENARIO_H_
#define TERRACE_TESTS_SUPPORT_STORE_SCENARIO_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "src/model/geometry_builder.h"
#include "terrace/ledger.h"
#include "terrace/model.h"
#include "terrace/units.h"
#include "tests/support/row_formats.h"

namespace terrace::testing {

using internal::MakeGeometry;

using Random = std::mt19937_64;

// Uniform in low .. high.
inline int32_t Draw(Random& random, int32_t low, int32_t high) {
  return std::uniform_int_distribution<int32_t>(low, high)(random);
}
inline bool Chance(Random& random, int32_t percent) { return Draw(random, 1, 100) <= percent; }

struct Scenario {
  uint64_t seed = 0;
  ModelSpec model;
  Geometry geometry{};
  int32_t in_flight_plans = 0;
  std::vector<LayerRange> stores;  // the model's layers, split

  std::string ToString() const {
    std::string text = absl::StrCat("seed ", seed, ": ", model.layers.size(), " layers in ",
                                    stores.size(), " stores, ", geometry.max_sequences, " x ",
                                    geometry.max_context_tokens, " tokens, D ", geometry.max_drafts,
                                    geometry.store_whole_chunk != 0 ? ", whole chunks" : "");
    for (const PoolSpec& pool : model.pools) {
      if (pool.kind == PoolKind::kOverlap) continue;
      absl::StrAppend(&text, "; ", pool.name, " ", RowFormatName(pool.planes[0].format),
                      " blocks of ", pool.entries_per_block,
                      pool.rule == EntryRule::kPooled ? " pooled" : " strided",
                      pool.layout == PoolLayout::kBlockMajor ? " block-major" : " layer-major",
                      " align ", pool.page_align, "/", pool.block_align,
                      pool.planes[0].rope_before_store ? "" : " unrotated");
    }
    return text;
  }
};

// Consecutive seeds go through all formats, block sizes, layouts, rules and alignments; the rest is
// random.
inline Scenario MakeScenario(uint64_t seed) {
  Random random(seed);
  const std::vector<std::vector<int32_t>> kRatios = {
      {0, 4, 128, 4}, {0, 1, 2}, {128, 4, 0, 2}, {2, 0, 1, 128}, {0}};
  constexpr int32_t kBlockTokens[] = {2, 16, 32, 64, 128, 256};
  constexpr int64_t kPageAligns[] = {32, 16, 64, 512};
  const std::vector<RowFormat> latents = LatentFormats();

  LayeredModelOptions options;
  options.ratios = kRatios[seed % 7 == 6 ? 4 : seed % 4];
  options.latent_format = latents[seed % latents.size()];
  options.indexer_format = seed / 5 % 2 == 0 ? RowFormat::kIndexerFp8 : RowFormat::kIndexerMxfp4;
  options.indexer_ratio = Chance(random, 80) ? 4 : 2;
  options.rule = seed / 3 % 2 == 0 ? EntryRule::kPooled : EntryRule::kStrided;
  options.swa_block_tokens = kBlockTokens[seed % 6];
  options.layout = seed / 2 % 2 == 0 ? PoolLayout::kBlockMajor : PoolLayout::kLayerMajor;
  options.page_align = kPageAligns[seed / 4 % 4];
  options.max_context_tokens = Draw(random, 300, 2100);

  Scenario scenario;
  scenario.seed = seed;
  absl::StatusOr<ModelSpec> model = MakeModel(options);
  EXPECT_TRUE(model.ok()) << model.status();
  scenario.model = *std::move(model);
  for (PoolSpec& pool : scenario.model.pools) {
    for (PlaneSpec& plane : pool.planes) plane.rope_before_store = Chance(random, 60);
  }
  const int32_t own_layers = static_cast<int32_t>(scenario.model.layers.size());
  if (Chance(random, 50)) {
    // One more layer reads the full pool of the last: rows shared as in V4.1.
    LayerSpec reader = scenario.model.layers.back();
    std::erase_if(reader.pools, [&](const LayerPool& use) {
      return scenario.model.pools[use.pool].kind == PoolKind::kOverlap;
    });
    for (LayerPool& use : reader.pools) {
      if (scenario.model.pools[use.pool].kind == PoolKind::kFull) {
        use.writes = false;
      } else {
        use.index = own_layers;
      }
    }
    scenario.model.layers.push_back(reader);
  }

  Limits limits;
  limits.max_sequences = Draw(random, 1, 6);
  limits.max_step_tokens = Chance(random, 50) ? Draw(random, 300, 700) : Draw(random, 8, 64);
  limits.max_drafts = Chance(random, 70) ? Draw(random, 1, 5) : 0;
  limits.store_whole_chunk = Chance(random, 30);
  std::vector<int32_t> capacity(scenario.model.pools.size(), 1);
  absl::StatusOr<Geometry> geometry = MakeGeometry(scenario.model, limits, capacity);
  EXPECT_TRUE(geometry.ok()) << geometry.status();
  for (int p = 0; p < geometry->num_pools; ++p) {
    const PoolGeometry& pool = geometry->pools[p];
    int32_t blocks = pool.blocks_per_sequence;
    if (pool.kind == PoolKind::kOverlap) blocks = Draw(random, 0, 3);
    if (pool.kind == PoolKind::kWindow) {
      const WindowBlocks worst = WorstCaseWindowBlocks(pool, geometry->window_tokens, limits);
      blocks = worst.steady + worst.prefill_extra;
    }
    capacity[p] = std::max(blocks, blocks * limits.max_sequences * Draw(random, 40, 100) / 100);
  }
  scenario.geometry = *MakeGeometry(scenario.model, limits, capacity);
  scenario.in_flight_plans = Chance(random, 30) ? Draw(random, 1, 3) : 0;
  const int32_t num_layers = static_cast<int32_t>(scenario.model.layers.size());
  const int32_t split = own_layers > 1 && Chance(random, 40) ? Draw(random, 1, own_layers - 1) : 0;
  if (split > 0) scenario.stores.push_back({0, split});
  scenario.stores.push_back({split, num_layers - split});
  return scenario;
}

// One sequence's part in a step, as the scheduler knows it.
struct StepSequence {
  int64_t sequence = 0;  // a number of its own, never used again
  int32_t sequence_index = 0;
  int32_t first = 0;
  int32_t count = 0;
  int32_t drafts = 0;
};

struct TrafficStep {
  Plan plan;
  std::vector<StepSequence> sequences;
};

// Continuous batching at random: prefill pieces, decodes, drafts taken back, arrivals, departures,
// preemption where a pool is short.
class Traffic {
 public:
  explicit Traffic(const Scenario& scenario)
      : random_(scenario.seed ^ 0x7261666666696374), geometry_(scenario.geometry) {
    auto ledger = Ledger::Create({.geometry = geometry_,
                                  .epoch = scenario.seed + 1,
                                  .in_flight_plans = scenario.in_flight_plans,
                                  .prefix = {.enabled = false}});
    EXPECT_TRUE(ledger.ok()) << ledger.status();
    ledger_ = *std::move(ledger);
    in_flight_plans_ = scenario.in_flight_plans;
  }

  Ledger& ledger() { return *ledger_; }

  TrafficStep Next() {
    SettleLastStep();
    for (;;) {
      ArriveAndLeave();
      std::vector<StepSequence> sequences;  // of no sequence where a rank is idle
      if (!Chance(random_, 3)) sequences = ChooseBatch();
      std::vector<StepRequest> batch;
      for (const StepSequence& part : sequences) {
        batch.push_back({Find(part.sequence).id, part.count, part.drafts});
      }
      absl::StatusOr<Plan> plan = ledger_->Append(batch);
      if (!plan.ok()) {
        EXPECT_TRUE(ShortageOf(plan.status()).has_value()) << plan.status();
        if (RetireUpTo(ledger_->last_plan().value())) continue;
        if (sequences.empty()) continue;
        Leave(sequences[Draw(random_, 0, static_cast<int32_t>(sequences.size()) - 1)].sequence);
        continue;
      }
      for (const StepSequence& part : sequences) Find(part.sequence).length += part.count;
      last_ = sequences;
      return {*std::move(plan), std::move(sequences)};
    }
  }

 private:
  struct Sequence {
    int64_t number;
    SequenceId id;
    int32_t prompt;
    int32_t length;
    int32_t known;
  };

  Sequence& Find(int64_t number) {
    return *std::find_if(sequences_.begin(), sequences_.end(),
                         [&](const Sequence& s) { return s.number == number; });
  }

  void Leave(int64_t number) {
    EXPECT_TRUE(ledger_->FreeSequence(Find(number).id).ok());
    sequences_.erase(sequences_.begin() + (&Find(number) - sequences_.data()));
  }

  void SettleLastStep() {
    for (const StepSequence& part : last_) {
      Sequence& sequence = Find(part.sequence);
      if (part.drafts > 0) {
        sequence.length -= Draw(random_, 0, part.drafts);
        EXPECT_TRUE(ledger_->Truncate(sequence.id, sequence.length).ok());
      }
      if (sequence.length < sequence.prompt) continue;
      const std::vector<int32_t> tokens(
          std::min(sequence.length + 1, geometry_.max_context_tokens) - sequence.known, 7);
      EXPECT_TRUE(ledger_->Commit(sequence.id, tokens).ok());
      sequence.known += static_cast<int32_t>(tokens.size());
    }
    last_.clear();
    const uint64_t newest = ledger_->last_plan().value();
    if (in_flight_plans_ > 0 && newest > retired_) {
      RetireUpTo(newest -
                 Draw(random_, 0, std::min<int32_t>(newest - retired_, in_flight_plans_) - 1));
    }
  }

  // Whether there was anything to retire. The stores have run all plans that Next gave.
  bool RetireUpTo(uint64_t plan) {
    if (in_flight_plans_ == 0 || plan == retired_) return false;
    retired_ = plan;
    EXPECT_TRUE(ledger_->Retire(PlanNumber(plan)).ok());
    return true;
  }

  void ArriveAndLeave() {
    for (size_t i = sequences_.size(); i-- > 0;) {
      if (sequences_[i].length == geometry_.max_context_tokens || Chance(random_, 4)) {
        Leave(sequences_[i].number);
      }
    }
    while (sequences_.empty() ||
           (ledger_->num_sequences() < geometry_.max_sequences && Chance(random_, 40))) {
      const int32_t prompt = Draw(random_, 1, geometry_.max_context_tokens);
      auto id = ledger_->AllocateSequence({.tokens = std::vector<int32_t>(prompt, 3)});
      EXPECT_TRUE(id.ok()) << id.status();
      sequences_.push_back({next_number_++, id->id, prompt, 0, prompt});
    }
  }

  std::vector<StepSequence> ChooseBatch() {
    std::vector<StepSequence> sequences;
    std::shuffle(sequences_.begin(), sequences_.end(), random_);
    int32_t budget = geometry_.max_step_tokens;
    for (const Sequence& sequence : sequences_) {
      if (budget == 0 || (!sequences.empty() && Chance(random_, 20))) continue;
      const int32_t room = std::min(budget, geometry_.max_context_tokens - sequence.length);
      int32_t count = 1;
      if (sequence.length < sequence.prompt) {
        const int32_t left = std::min(room, sequence.prompt - sequence.length);
        count = Chance(random_, 50) ? left : Draw(random_, 1, left);
      }
      int32_t drafts = 0;
      if (sequence.length + count >= sequence.prompt) {
        drafts = Draw(random_, 0, std::min(geometry_.max_drafts, room - count));
      }
      sequences.push_back(
          {sequence.number, sequence.id.index, sequence.length, count + drafts, drafts});
      budget -= count + drafts;
    }
    return sequences;
  }

  Random random_;
  Geometry geometry_;
  std::unique_ptr<Ledger> ledger_;
  std::vector<Sequence> sequences_;
  std::vector<StepSequence> last_;
  int64_t next_number_ = 1;
  int32_t in_flight_plans_ = 0;
  uint64_t retired_ = 0;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_STORE_SCENARIO_H_
