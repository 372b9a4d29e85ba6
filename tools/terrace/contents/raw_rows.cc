#include "tools/terrace/contents/raw_rows.h"

#include <algorithm>

#include "src/base/status_macros.h"
#include "terrace/backend_buffer.h"
#include "tools/terrace/engine/layer_places.h"

#if defined(TERRACE_HAS_CUDA)
#include "tools/terrace/contents/launch_status.h"
#endif

namespace terrace::tools {
namespace {

using internal::ThreadPool;

constexpr int64_t kPieceTokens = 32;  // that one thread takes at a time: some tens of microseconds

}  // namespace

absl::StatusOr<std::unique_ptr<RawRows>> RawRows::Create(Store* store, const ModelSpec& model,
                                                         const StepContents* contents,
                                                         const CompressorWeights& weights,
                                                         ThreadPool* threads) {
  std::unique_ptr<RawRows> rows(new RawRows(store, contents, threads));
  TERRACE_RETURN_IF_ERROR(rows->Build(model, weights));
  return rows;
}

absl::Status RawRows::Build(const ModelSpec& model, const CompressorWeights& weights) {
  const LayerRange range = store_->layers();
  const StepView& step = store_->step_view();
  layers_.resize(range.count);
  int64_t columns[kMaxPlanes] = {};  // of the widest layer
  for (int l = 0; l < range.count; ++l) {
    const LayerPool* const full = PlaceOf(model, range.first + l, PoolKind::kFull);
    if (full == nullptr || !full->writes) continue;
    layers_[l].segment = {.positions = step.token_position,
                          .token_sequences = step.token_record,
                          .sequences = contents_.sequences(),
                          .prefix_keys = contents_.prefix_keys(),
                          .num_planes = 0,
                          .planes = {}};
    layers_[l].inputs.norm_weight = FloatType::kFloat32;
    layers_[l].inputs.eps = kCompressorEps;
    for (int32_t p = 0; p < kMaxPlanes; ++p) {
      const ContentPlane place = {full->pool, full->index, p};
      const CompressorWeights::Plane* const plane = weights.Of(place);
      if (plane == nullptr) break;
      TERRACE_RETURN_IF_ERROR(AddPlane(*plane, place, &layers_[l]));
      columns[p] = std::max<int64_t>(columns[p], plane->columns);
    }
  }
  for (int p = 0; p < kMaxPlanes; ++p) {
    for (BackendBuffer<float>& rows : rows_[p]) {
      TERRACE_RETURN_IF_ERROR(rows.Allocate(
          store_->backend(), store_->geometry().max_step_tokens * columns[p], Stream{}));
    }
  }
  for (Layer& layer : layers_) {
    for (int p = 0; p < layer.segment.num_planes; ++p) {
      CompressPlaneIn& in = p == 0 ? layer.inputs.latent : layer.inputs.indexer;
      in.kv = layer.segment.planes[p].kv = rows_[p][0].data();
      in.score = layer.segment.planes[p].score = rows_[p][1].data();
    }
  }
  return absl::OkStatus();
}

absl::Status RawRows::AddPlane(const CompressorWeights::Plane& weights, ContentPlane place,
                               Layer* layer) {
  RawSegment& segment = layer->segment;
  segment.planes[segment.num_planes++] = {
      .kv = nullptr, .score = nullptr, .columns = weights.columns, .plane = place};

  const auto upload = [&](const std::vector<float>& numbers) -> absl::StatusOr<const float*> {
    Backend& backend = store_->backend();
    BackendBuffer<float>& memory = layer->weights.emplace_back();
    const int64_t count = static_cast<int64_t>(numbers.size());
    TERRACE_RETURN_IF_ERROR(memory.Allocate(backend, count, Stream{}));
    TERRACE_RETURN_IF_ERROR(
        backend.Upload(memory.data(), numbers.data(), count * int64_t{sizeof(float)}, {}));
    return memory.data();
  };
  CompressPlaneIn& in = place.plane == 0 ? layer->inputs.latent : layer->inputs.indexer;
  TERRACE_ASSIGN_OR_RETURN(in.ape, upload(weights.ape));
  TERRACE_ASSIGN_OR_RETURN(in.norm_weight, upload(weights.norm));
  return absl::OkStatus();
}

absl::Status RawRows::Compress(int layer_index, Stream stream) {
  const Layer& layer = layers_[layer_index - store_->layers().first];
  if (layer.segment.num_planes == 0) return absl::OkStatus();
  TERRACE_RETURN_IF_ERROR(Fill(layer.segment, stream));
  return store_->Compress(layer_index, layer.inputs, stream);
}

absl::Status RawRows::Fill(const RawSegment& segment, [[maybe_unused]] Stream stream) {
  const int32_t tokens = store_->step().num_token_rows;
  if (store_->backend().name() == "host") {
    threads_->ParallelFor(tokens, kPieceTokens,
                          [&](int64_t begin, int64_t end) { FillRaw(segment, begin, end); });
    return absl::OkStatus();
  }
#if defined(TERRACE_HAS_CUDA)
  const int error = LaunchFillRaw(segment, tokens, static_cast<CUstream_st*>(stream.handle));
  return StatusOfLaunch(error, "LaunchFillRaw");
#else
  return absl::OkStatus();
#endif
}

}  // namespace terrace::tools
