#include "tools/terrace/engine/store_runner.h"

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "terrace/formats/rope.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/engine/layer_range.h"

namespace terrace {

absl::StatusOr<std::unique_ptr<StoreRunner>> StoreRunner::Create(
    const CapacityPlan& capacity, absl::Span<const TraceRequest> requests,
    const ReplayOptions& options) {
  std::unique_ptr<StoreRunner> runner(new StoreRunner(requests, options));
  if (absl::Status status = runner->Build(capacity); !status.ok()) return status;
  return runner;
}

StoreRunner::StoreRunner(absl::Span<const TraceRequest> requests, const ReplayOptions& options)
    : options_(options),
      keys_(requests),
      threads_(options.backend.host_threads > 0
                   ? options.backend.host_threads
                   : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

absl::Status StoreRunner::Build(const CapacityPlan& capacity) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(options_.backend);
  if (!backend.ok()) return backend.status();
  backend_ = *std::move(backend);

  LayerRange layers = {0, static_cast<int32_t>(options_.model.layers.size())};
  if (!options_.layers.empty()) {
    absl::StatusOr<LayerRange> asked = ParseLayers(options_.layers, options_.model);
    if (!asked.ok()) return asked.status();
    layers = *asked;
  } else if (backend_->name() == "host") {
    layers = OneLayerOfEachKind(options_.model);
  }
  absl::StatusOr<std::unique_ptr<Store>> store = Store::Create(
      {.model = options_.model, .geometry = capacity.geometry, .layers = layers}, backend_);
  if (!store.ok()) return store.status();
  store_ = *std::move(store);
  if (absl::Status status = MakeRopes(capacity.geometry.max_context_tokens); !status.ok()) {
    return status;
  }

  if (absl::Status status = BuildSources(); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Verifier>> verifier = Verifier::Create(
      store_.get(), options_.model, &keys_, rope_tables_, &weights_, &threads_, options_.verifier);
  if (!verifier.ok()) return verifier.status();
  verifier_ = *std::move(verifier);
  return absl::OkStatus();
}

absl::Status StoreRunner::BuildSources() {
  const ModelSpec& model = options_.model;
  auto contents = StepContents::Create(backend_.get(), store_->geometry().max_sequences, &keys_);
  if (!contents.ok()) return contents.status();
  contents_ = *std::move(contents);
  if (options_.compress) {
    weights_ = CompressorWeights(model, store_->layers(), options_.verifier.seed);
    if (weights_.empty()) {
      return absl::InvalidArgumentError("--compress: none of the layers has compressor state");
    }
    auto raw = RawRows::Create(store_.get(), model, contents_.get(), weights_, &threads_);
    if (!raw.ok()) return raw.status();
    raw_ = *std::move(raw);
  }
  if (!options_.compress || StatePool(model, kCsaRatio) < 0) {
    overlap_ = std::make_unique<OverlapRows>(store_.get(), &keys_);
  }
  auto rows = RowSource::Create(store_.get(), model, contents_.get(), weights_, &threads_);
  if (!rows.ok()) return rows.status();
  rows_ = *std::move(rows);
  return absl::OkStatus();
}

absl::Status StoreRunner::MakeRopes(int32_t positions) {
  std::vector<RopeTableView> views;
  for (const RopeSpec& rope : options_.model.ropes) {
    std::optional<YarnScaling> yarn;
    if (rope.yarn_factor > 1) {
      yarn = {rope.yarn_factor, rope.yarn_original_length, rope.yarn_beta_fast,
              rope.yarn_beta_slow};
    }
    rope_tables_.push_back(MakeRopeTable(positions, rope.base, yarn));
    const std::vector<float>& table = rope_tables_.back();
    const float* data = table.data();
    if (backend_->name() != "host") {
      const int64_t size = static_cast<int64_t>(table.size());
      BackendBuffer<float>& memory = device_ropes_.emplace_back();
      absl::Status status = memory.Allocate(*backend_, size, Stream{});
      if (status.ok()) {
        status = backend_->Upload(memory.data(), data, size * int64_t{sizeof(float)}, stream_);
      }
      if (!status.ok()) return status;
      data = memory.data();
    }
    views.push_back({data, positions});
  }
  return store_->SetRopeTables(views);
}

absl::Status StoreRunner::Run(const Plan& plan, absl::Span<const StepSequence> sequences) {
  absl::Status status = store_->Begin(plan, stream_);
  if (status.ok() && overlap_ != nullptr) status = overlap_->RunStep(plan, sequences, stream_);
  if (status.ok()) status = contents_->BeginStep(sequences, stream_);
  if (status.ok()) status = rows_->BeginStep(stream_);
  const LayerRange range = store_->layers();
  for (int layer = range.first; status.ok() && layer < range.first + range.count; ++layer) {
    status = store_->Write(layer, rows_->RowsOf(layer), stream_);
    if (status.ok() && raw_ != nullptr) status = raw_->Compress(layer, stream_);
  }
  if (status.ok() && options_.after_write) status = options_.after_write(*store_);
  return status.ok() ? verifier_->CheckStep(sequences, stream_) : status;
}

VerifierStats StoreRunner::verified() const {
  VerifierStats sum = verifier_->stats();
  if (overlap_ != nullptr) sum += overlap_->stats();
  return sum;
}

}  // namespace terrace
