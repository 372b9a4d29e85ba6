#include "tools/terrace/engine/store_runner.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "src/base/status_macros.h"
#include "terrace/formats/rope.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/engine/layer_range.h"

namespace terrace::tools {

absl::StatusOr<std::unique_ptr<StoreRunner>> StoreRunner::Create(
    const CapacityPlan& capacity, absl::Span<const TraceRequest> requests,
    const ReplayOptions& options) {
  std::unique_ptr<StoreRunner> runner(new StoreRunner(requests, options));
  TERRACE_RETURN_IF_ERROR(runner->Build(capacity));
  return runner;
}

StoreRunner::StoreRunner(absl::Span<const TraceRequest> requests, const ReplayOptions& options)
    : options_(options),
      keys_(requests),
      threads_(options.backend.host_threads > 0
                   ? options.backend.host_threads
                   : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

absl::Status StoreRunner::Build(const CapacityPlan& capacity) {
  TERRACE_ASSIGN_OR_RETURN(backend_, MakeBackend(options_.backend));

  LayerRange layers = {0, static_cast<int32_t>(options_.model.layers.size())};
  if (!options_.layers.empty()) {
    TERRACE_ASSIGN_OR_RETURN(layers, ParseLayers(options_.layers, options_.model));
  } else if (backend_->name() == "host") {
    layers = OneLayerOfEachKind(options_.model);
  }
  TERRACE_ASSIGN_OR_RETURN(
      store_,
      Store::Create({.model = options_.model, .geometry = capacity.geometry, .layers = layers},
                    backend_));
  TERRACE_RETURN_IF_ERROR(MakeRopes(capacity.geometry.max_context_tokens));

  TERRACE_RETURN_IF_ERROR(BuildSources());
  TERRACE_ASSIGN_OR_RETURN(
      verifier_, Verifier::Create(store_.get(), options_.model, &keys_, rope_tables_, &weights_,
                                  &threads_, options_.verifier));
  return absl::OkStatus();
}

absl::Status StoreRunner::BuildSources() {
  const ModelSpec& model = options_.model;
  TERRACE_ASSIGN_OR_RETURN(
      contents_, StepContents::Create(backend_.get(), store_->geometry().max_sequences, &keys_));
  if (options_.compress) {
    weights_ = CompressorWeights(model, store_->layers(), options_.verifier.seed);
    if (weights_.empty()) {
      return absl::InvalidArgumentError("--compress: none of the layers has compressor state");
    }
    TERRACE_ASSIGN_OR_RETURN(
        raw_, RawRows::Create(store_.get(), model, contents_.get(), weights_, &threads_));
  }
  if (!options_.compress || StatePool(model, kCsaRatio) == kNoPool) {
    overlap_ = std::make_unique<OverlapRows>(store_.get(), &keys_);
  }
  TERRACE_ASSIGN_OR_RETURN(
      rows_, RowSource::Create(store_.get(), model, contents_.get(), weights_, &threads_));
  return absl::OkStatus();
}

absl::Status StoreRunner::MakeRopes(int32_t positions) {
  std::vector<RopeTableView> views;
  for (const RopeSpec& rope : options_.model.ropes) {
    rope_tables_.push_back(MakeRopeTable(positions, rope));
    const std::vector<float>& table = rope_tables_.back();
    const float* data = table.data();
    if (backend_->name() != "host") {
      const int64_t size = static_cast<int64_t>(table.size());
      BackendBuffer<float>& memory = device_ropes_.emplace_back();
      TERRACE_RETURN_IF_ERROR(memory.Allocate(*backend_, size, Stream{}));
      TERRACE_RETURN_IF_ERROR(
          backend_->Upload(memory.data(), data, size * int64_t{sizeof(float)}, stream_));
      data = memory.data();
    }
    views.push_back({data, positions});
  }
  return store_->SetRopeTables(views);
}

absl::Status StoreRunner::Run(const Plan& plan, absl::Span<const StepSequence> sequences) {
  TERRACE_RETURN_IF_ERROR(store_->Begin(plan, stream_));
  if (overlap_ != nullptr) TERRACE_RETURN_IF_ERROR(overlap_->RunStep(plan, sequences, stream_));
  TERRACE_RETURN_IF_ERROR(contents_->BeginStep(sequences, stream_));
  TERRACE_RETURN_IF_ERROR(rows_->BeginStep(stream_));
  const LayerRange range = store_->layers();
  for (int layer = range.first; layer < range.first + range.count; ++layer) {
    TERRACE_RETURN_IF_ERROR(store_->Write(layer, rows_->RowsOf(layer), stream_));
    if (raw_ != nullptr) TERRACE_RETURN_IF_ERROR(raw_->Compress(layer, stream_));
  }
  if (options_.after_write) TERRACE_RETURN_IF_ERROR(options_.after_write(*store_));
  return verifier_->CheckStep(sequences, stream_);
}

VerifierStats StoreRunner::verified() const {
  VerifierStats sum = verifier_->stats();
  if (overlap_ != nullptr) sum += overlap_->stats();
  return sum;
}

}  // namespace terrace::tools
