// CheckedWorker is the worker's side of a step: a store of some layers, and no ledger. Its model is
// a hash, so that it can compare every row that a query reads with what was computed for it: a row
// is a function of its layer and of all tokens of its sequence up to its own.

#ifndef TERRACE_EXAMPLES_CHECKED_WORKER_H_
#define TERRACE_EXAMPLES_CHECKED_WORKER_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "examples/worker_process.h"
#include "terrace/capacity.h"
#include "terrace/formats/row_format.h"
#include "terrace/step.h"
#include "terrace/store.h"
#include "terrace/units.h"

namespace terrace::examples {

// What all processes know, in place of a configuration file.
inline absl::StatusOr<CapacityPlan> SharedCapacity() {
  absl::StatusOr<ModelSpec> model = MakeModel(
      {.ratios = {4, 128, 4, 128}, .latent_format = RowFormat::kBf16, .indexer_ratio = 0});
  if (!model.ok()) return model.status();
  return PlanCapacity(
      {.model = *model,
       .memory_bytes = 64 * kMiB,
       .limits = {.max_sequences = 4, .max_step_tokens = 512, .max_context_tokens = 1536},
       .in_flight_plans = 4});
}

class CheckedWorker {
 public:
  static absl::StatusOr<std::unique_ptr<CheckedWorker>> Make(LayerRange layers);

  // Runs the step, or takes over a snapshot, and says how it went.
  StepAnswer Step(const StepMessage& message);

 private:
  // A sequence of the step.
  struct Part {
    SequenceStep step;
    int32_t window_from;
    std::vector<uint64_t> keys;  // [token] of it and of all tokens before it
  };

  explicit CheckedWorker(std::unique_ptr<Store> store) : store_(std::move(store)) {}

  absl::Status Run(const StepMessage& message, StepAnswer& answer);
  absl::Status Write(int layer, const std::vector<Part>& parts);
  absl::Status Check(int layer, const std::vector<Part>& parts, StepAnswer& answer);
  const PoolGeometry& FullPoolOf(int layer) const {
    return store_->geometry().pools[1 + layer % 2];  // the model's CSA and HCA layers in turn
  }

  std::unique_ptr<Store> store_;
  uint64_t last_plan_ = 0;
};

inline absl::StatusOr<std::unique_ptr<CheckedWorker>> CheckedWorker::Make(LayerRange layers) {
  absl::StatusOr<CapacityPlan> capacity = SharedCapacity();
  if (!capacity.ok()) return capacity.status();
  auto backend = MakeBackend({.kind = BackendKind::kHost, .host_threads = 1});
  if (!backend.ok()) return backend.status();
  auto store =
      Store::Create({.model = capacity->model, .geometry = capacity->geometry, .layers = layers},
                    *std::move(backend));
  if (!store.ok()) return store.status();
  return std::unique_ptr<CheckedWorker>(new CheckedWorker(*std::move(store)));
}

inline StepAnswer CheckedWorker::Step(const StepMessage& message) {
  StepAnswer answer;
  answer.code = static_cast<int32_t>(Run(message, answer).code());
  answer.last_plan = last_plan_;
  return answer;
}

inline absl::Status CheckedWorker::Run(const StepMessage& message, StepAnswer& answer) {
  absl::StatusOr<Plan> plan = Plan::Parse(message.plan, store_->geometry());
  if (!plan.ok()) return plan.status();
  if (absl::Status status = store_->Begin(*plan, Stream{}); !status.ok()) return status;
  std::vector<Part> parts;
  const int32_t* next = message.sequences.data();
  for (const SequenceStep& step : plan->sequences()) {
    Part part = {.step = step, .window_from = *next++, .keys = {}};
    uint64_t key = 0;
    for (int32_t t = 0; t < step.first + step.count; ++t) {
      key = (key ^ static_cast<uint64_t>(*next++)) * 0x9E3779B97F4A7C15u;
      part.keys.push_back(key ^= key >> 29);
    }
    parts.push_back(std::move(part));
  }
  const LayerRange layers = store_->layers();
  for (int layer = layers.first; layer < layers.first + layers.count; ++layer) {
    if (absl::Status status = Write(layer, parts); !status.ok()) return status;
    if (absl::Status status = Check(layer, parts, answer); !status.ok()) return status;
  }
  last_plan_ = plan->number().value();
  return absl::OkStatus();
}

// What the model computes: 512 channels of bf16.
inline void AppendComputedRow(int layer, bool is_entry, uint64_t key, std::vector<uint16_t>& rows) {
  uint64_t x = key * 64 + layer * 2 + (is_entry ? 1 : 0);
  for (int i = 0; i < kLatentChannels; i += 8) {
    x = (x ^ (x >> 31)) * 0x94D049BB133111EBu + 0x9E3779B97F4A7C15u;
    for (int c = 0; c < 8; ++c) rows.push_back(0x3F00 | (x >> (8 * c) & 0x7F));
  }
}

inline absl::Status CheckedWorker::Write(int layer, const std::vector<Part>& parts) {
  const PoolGeometry& pool = FullPoolOf(layer);
  std::vector<uint16_t> tokens;
  std::vector<uint16_t> entries;
  for (const Part& part : parts) {
    const int32_t end = part.step.first + part.step.count;
    for (int32_t t = part.step.first; t < end; ++t) {
      AppendComputedRow(layer, false, part.keys[t], tokens);
    }
    for (int32_t e = EntriesClosed(pool, part.step.first); e < EntriesClosed(pool, end); ++e) {
      AppendComputedRow(layer, true, part.keys[(e + 1) * pool.ratio - 1], entries);
    }
  }
  if (tokens.empty()) return absl::OkStatus();  // a snapshot
  LayerRows rows = {.swa = {.data = tokens.data(), .rotated = true}};
  if (!entries.empty()) rows.entries = {.data = entries.data(), .rotated = true};
  return store_->Write(layer, rows, Stream{});
}

// All that the first and the last query of each sequence read.
inline absl::Status CheckedWorker::Check(int layer, const std::vector<Part>& parts,
                                         StepAnswer& answer) {
  if (parts.empty()) return absl::OkStatus();
  const Geometry& geometry = store_->geometry();
  const PoolGeometry& pool = FullPoolOf(layer);
  const int64_t most = EntriesClosed(pool, geometry.max_context_tokens);
  std::vector<int32_t> rows;
  for (const Part& part : parts) {
    rows.insert(rows.end(), {part.step.token_row, part.step.token_row + part.step.count - 1});
  }
  const Queries queries = {.token_rows = rows.data(), .count = static_cast<int32_t>(rows.size())};
  std::vector<uint16_t> entries(queries.count * most * kLatentChannels);
  std::vector<uint16_t> window(int64_t{queries.count} * geometry.window_tokens * kLatentChannels);
  absl::Status status = store_->GatherVisible(layer, queries, static_cast<int32_t>(most),
                                              {.data = entries.data()}, Stream{});
  if (!status.ok()) return status;
  status = store_->GatherWindow(layer, queries, {.data = window.data()}, Stream{});
  if (!status.ok()) return status;

  const auto compare = [&](bool is_entry, uint64_t key, const uint16_t* row) {
    std::vector<uint16_t> computed;
    AppendComputedRow(layer, is_entry, key, computed);
    ++answer.compared_rows;
    answer.wrong_rows += !std::equal(computed.begin(), computed.end(), row);
  };
  for (int32_t q = 0; q < queries.count; ++q) {
    const Part& part = parts[q / 2];
    const int32_t end = part.step.first + part.step.count;
    const int32_t position = q % 2 == 0 ? part.step.first : end - 1;
    const uint16_t* row = entries.data() + q * most * kLatentChannels;
    for (int32_t e = 0; e < EntriesVisible(pool, position); ++e, row += kLatentChannels) {
      compare(true, part.keys[(e + 1) * pool.ratio - 1], row);
    }
    row = window.data() + int64_t{q} * geometry.window_tokens * kLatentChannels;
    // Of its own rows a step keeps those that the next one sees.
    const int32_t kept = end - (geometry.window_tokens - 1);
    for (int32_t t = WindowBegin(geometry, position); t <= position; ++t, row += kLatentChannels) {
      if (t < part.window_from || (t >= part.step.first && t < kept)) continue;
      compare(false, part.keys[t], row);
    }
  }
  return absl::OkStatus();
}

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_CHECKED_WORKER_H_
