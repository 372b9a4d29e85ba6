// One scheduler, two workers that hold half of the layers each, and plans that travel as bytes. The
// workers' attention reads the pages in place. Runs on the host backend. worker_processes.cc shows
// what to do when a worker misses plans or dies.
//
//   pipeline_workers      exit: 0 the rows read are the rows written, 1 otherwise

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "examples/attention.h"
#include "terrace/capacity.h"
#include "terrace/formats/row_codec.h"
#include "terrace/ledger.h"
#include "terrace/step.h"
#include "terrace/store.h"
#include "terrace/units.h"

namespace terrace::examples {
namespace {

using Bytes = std::vector<std::byte>;  // what a queue or a socket carries

constexpr int kTopK = 3;

// What the model computes for token or entry `index` of a layer. Every sequence has the same rows
// here.
std::vector<uint16_t> RowOf(int layer, int index) { return RandomRows(1, layer * 4096 + index); }

// A process of the pipeline: a store of some layers, and no ledger.
class Worker {
 public:
  static absl::StatusOr<std::unique_ptr<Worker>> Make(const CapacityPlan& capacity,
                                                      LayerRange layers);

  // One step of this worker's layers.
  absl::Status Step(const Bytes& bytes);

  const std::vector<uint16_t>& read() const { return read_; }

 private:
  absl::Status WriteLayer(int layer, const Plan& plan);
  absl::Status ReadInPlace(int layer, const Plan& plan);

  std::unique_ptr<Store> store_;
  std::vector<float> rope_;
  std::vector<uint16_t> read_;  // of the last CSA layer: the rows that the last query chose
};

absl::StatusOr<std::unique_ptr<Worker>> Worker::Make(const CapacityPlan& capacity,
                                                     LayerRange layers) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend({.kind = BackendKind::kHost});
  if (!backend.ok()) return backend.status();
  absl::StatusOr<std::unique_ptr<Store>> store =
      Store::Create({.model = capacity.model, .geometry = capacity.geometry, .layers = layers},
                    *std::move(backend));
  if (!store.ok()) return store.status();
  auto worker = std::make_unique<Worker>();
  worker->store_ = *std::move(store);
  worker->rope_ = MakeRopeTable(capacity.geometry.max_context_tokens, kCompressedRope);
  const RopeTableView table = {worker->rope_.data(), capacity.geometry.max_context_tokens};
  absl::Status status = worker->store_->SetRopeTables({table, table});
  if (!status.ok()) return status;
  return worker;
}

absl::Status Worker::Step(const Bytes& bytes) {
  absl::StatusOr<Plan> plan = Plan::Parse(bytes, store_->geometry());
  if (!plan.ok()) return plan.status();
  if (absl::Status status = store_->Begin(*plan, Stream{}); !status.ok()) return status;
  const LayerRange layers = store_->layers();
  for (int layer = layers.first; layer < layers.first + layers.count; ++layer) {
    if (absl::Status status = WriteLayer(layer, *plan); !status.ok()) return status;
    if (absl::Status status = ReadInPlace(layer, *plan); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Worker::WriteLayer(int layer, const Plan& plan) {
  std::vector<uint16_t> tokens;
  std::vector<uint16_t> entries;
  const int pool = 1 + layer % 2;  // CSA and HCA in turn
  for (const SequenceStep& part : plan.sequences()) {
    for (int32_t t = part.first; t < part.first + part.count; ++t) {
      const std::vector<uint16_t> row = RowOf(layer, t);
      tokens.insert(tokens.end(), row.begin(), row.end());
    }
    const PoolGeometry& geometry = store_->geometry().pools[pool];
    const int32_t end = EntriesClosed(geometry, part.first + part.count);
    for (int32_t e = EntriesClosed(geometry, part.first); e < end; ++e) {
      const std::vector<uint16_t> row = RowOf(layer, e);
      entries.insert(entries.end(), row.begin(), row.end());
    }
  }
  LayerRows rows = {.swa = {.data = tokens.data()}};
  if (!entries.empty()) rows.entries.data = entries.data();
  return store_->Write(layer, rows, Stream{});
}

// What a kernel of FlashMLA's kind does with a page view: from slots to rows, without a copy.
void ReadRows(const PageView& pages, absl::Span<const int32_t> slots, uint16_t* out) {
  for (const int32_t slot : slots) {
    const uint8_t* const page = static_cast<const uint8_t*>(pages.base) +
                                slot / pages.entries_per_block * pages.block_stride;
    const int32_t entry = slot % pages.entries_per_block;
    const uint8_t* const data = page + int64_t{entry} * pages.data_stride;
    const uint8_t* const scale = page + pages.scale_offset + int64_t{entry} * pages.scale_stride;
    DecodeRow<RowFormat::kFlashMlaV4>(data, scale, nullptr, 1.0f, out);
    out += kLatentChannels;
  }
}

absl::Status Worker::ReadInPlace(int layer, const Plan& plan) {
  if (layer % 2 != 0) return absl::OkStatus();             // HCA reads every entry
  const int32_t query = plan.header().num_token_rows - 1;  // the step's last row
  const std::vector<int32_t> chosen = {0, 5, 17};          // by the indexer
  std::vector<int32_t> slots(RoundUp(kTopK, 64));          // padded with -1
  int32_t length = 0;                                      // how many to read
  absl::Status status = store_->TranslateTopK(layer, {.token_rows = &query, .count = 1},
                                              {.entries = chosen.data(), .k = kTopK},
                                              {.slots = slots.data(), .lengths = &length}, {});
  if (!status.ok()) return status;
  absl::StatusOr<PageView> pages = store_->Pages(layer, PoolKind::kFull);
  if (!pages.ok()) return pages.status();
  read_.resize(int64_t{length} * kLatentChannels);
  ReadRows(*pages, absl::MakeConstSpan(slots).first(length), read_.data());
  return absl::OkStatus();
}

Bytes ToWire(const Plan& plan) { return {plan.bytes().begin(), plan.bytes().end()}; }

// The worst cosine of the rows that `worker` read against the rows that were written.
double WorstCosine(const Worker& worker, int layer) {
  std::vector<uint16_t> expected;
  const std::vector<float> table = MakeRopeTable(128, kCompressedRope);
  for (const int entry : {0, 5, 17}) {
    std::vector<uint16_t> row = RowOf(layer, entry);
    Rotate(absl::MakeSpan(row), absl::MakeConstSpan(table).subspan(entry * 4 * kRopeChannels));
    expected.insert(expected.end(), row.begin(), row.end());
  }
  return WorstRowCosine(ToFloats(worker.read()), ToFloats(expected));
}

absl::Status Run() {
  absl::StatusOr<ModelSpec> model = MakeModel({.ratios = {4, 128, 4, 128}, .indexer_ratio = 0});
  if (!model.ok()) return model.status();
  absl::StatusOr<CapacityPlan> capacity = PlanCapacity(
      {.model = *model,
       .memory_bytes = 64 * kMiB,
       .limits = {.max_sequences = 4, .max_step_tokens = 256, .max_context_tokens = 4096}});
  if (!capacity.ok()) return capacity.status();
  auto ledger = Ledger::Create({.geometry = capacity->geometry, .in_flight_plans = 2});
  if (!ledger.ok()) return ledger.status();
  auto first = Worker::Make(*capacity, {.first = 0, .count = 2});
  if (!first.ok()) return first.status();
  auto second = Worker::Make(*capacity, {.first = 2, .count = 2});
  if (!second.ok()) return second.status();

  absl::StatusOr<Admission> prompt = (*ledger)->AllocateSequence({});
  if (!prompt.ok()) return prompt.status();
  absl::StatusOr<Admission> other = (*ledger)->AllocateSequence({});
  if (!other.ok()) return other.status();
  const std::vector<std::vector<StepRequest>> steps = {{{prompt->id, 200}, {other->id, 40}},
                                                       {{other->id, 1}, {prompt->id, 1}}};
  for (const std::vector<StepRequest>& batch : steps) {
    absl::StatusOr<Plan> plan = (*ledger)->Append(batch);
    if (!plan.ok()) return plan.status();
    for (const auto* worker : {&*first, &*second}) {
      if (absl::Status status = (*worker)->Step(ToWire(*plan)); !status.ok()) return status;
    }
    if (absl::Status status = (*ledger)->Retire(plan->number()); !status.ok()) return status;
  }

  for (const auto& [worker, layer] : {std::pair(&*first, 0), std::pair(&*second, 2)}) {
    const double cosine = WorstCosine(**worker, layer);
    std::printf("layer %d, read in place: worst cosine %.6f (at least 0.999)\n", layer, cosine);
    if (!(cosine >= 0.999)) return absl::DataLossError("a worker read other rows than it wrote");
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace terrace::examples

int main() {
  const absl::Status status = terrace::examples::Run();
  std::printf("%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
