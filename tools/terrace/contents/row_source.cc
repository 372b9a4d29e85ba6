#include "tools/terrace/contents/row_source.h"

#include <algorithm>

#include "src/base/status_macros.h"
#include "terrace/geometry.h"

#if defined(TERRACE_HAS_CUDA)
#include "tools/terrace/contents/launch_status.h"
#endif

namespace terrace::tools {
namespace {

using internal::ThreadPool;

// What one thread takes at a time: some tens of microseconds of work.
constexpr int64_t kPieceRows = 128;

bool IsWindow(const ModelSpec& model, const LayerPool& place) {
  return model.pools[place.pool].kind == PoolKind::kWindow;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowSource>> RowSource::Create(Store* store, const ModelSpec& model,
                                                             const StepContents* contents,
                                                             const CompressorWeights& weights,
                                                             ThreadPool* threads) {
  std::unique_ptr<RowSource> source(new RowSource(store, model, contents, threads));
  TERRACE_RETURN_IF_ERROR(source->Build(weights));
  return source;
}

RowSource::RowSource(Store* store, const ModelSpec& model, const StepContents* contents,
                     ThreadPool* threads)
    : store_(store),
      model_(model),
      contents_(*contents),
      threads_(threads),
      on_host_(store->backend().name() == "host") {}

int32_t RowSource::AddSegment(const LayerPool& place, int32_t plane) {
  const PoolSpec& pool = model_.pools[place.pool];
  const StepView& view = store_->step_view();
  const bool window = pool.kind == PoolKind::kWindow;
  segments_.push_back(
      {.rows = nullptr,  // placed by Build
       .channels = LayoutOf(pool.planes[plane].format).channels,
       .plane = {place.pool, place.index, plane},
       .rule = pool.rule,
       .ratio = pool.ratio,
       .header = view.header,
       .count = window ? &view.header->num_token_rows : &view.header->num_entry_rows[place.pool],
       .slots = view.slots[place.pool],
       .positions = window ? view.token_position : view.entry_position[place.pool],
       .token_sequences = window ? view.token_record : nullptr,
       .sequences = contents_.sequences(),
       .prefix_keys = contents_.prefix_keys()});
  return static_cast<int32_t>(segments_.size()) - 1;
}

absl::Status RowSource::Build(const CompressorWeights& weights) {
  Backend& backend = store_->backend();
  const Geometry& geometry = store_->geometry();
  const LayerRange range = store_->layers();
  for (int layer = range.first; layer < range.first + range.count; ++layer) {
    LayerSegments segments;
    for (const LayerPool& place : model_.layers[layer].pools) {
      if (!place.writes || weights.Of({place.pool, place.index, 0}) != nullptr) continue;
      if (IsWindow(model_, place)) {
        segments.swa = AddSegment(place, 0);
      } else if (model_.pools[place.pool].kind == PoolKind::kFull) {
        segments.entries = AddSegment(place, 0);
        if (model_.pools[place.pool].planes.size() > 1) segments.indexer = AddSegment(place, 1);
      }
    }
    layers_.push_back(segments);
  }

  // On the host a layer's rows are made and written before the next one's: three buffers do.
  std::vector<int64_t> first(segments_.size());
  int64_t total = 0;
  int64_t largest[3] = {};
  const auto kind_of = [&](const FillSegment& segment) {
    return segment.token_sequences != nullptr ? 0 : 1 + segment.plane.plane;
  };
  const auto elements_of = [&](const FillSegment& segment) {
    return MaxEntryRows(geometry, PoolIndex(segment.plane.pool)) * segment.channels;
  };
  for (const FillSegment& segment : segments_) {
    largest[kind_of(segment)] = std::max(largest[kind_of(segment)], elements_of(segment));
  }
  for (size_t i = 0; i < segments_.size(); ++i) {
    const int kind = kind_of(segments_[i]);
    first[i] = on_host_ ? (kind > 0 ? largest[0] : 0) + (kind > 1 ? largest[1] : 0) : total;
    total += elements_of(segments_[i]);
  }
  if (on_host_) total = largest[0] + largest[1] + largest[2];
  TERRACE_RETURN_IF_ERROR(rows_.Allocate(backend, total, Stream{}));
  for (size_t i = 0; i < segments_.size(); ++i) segments_[i].rows = rows_.data() + first[i];

  if (on_host_) return absl::OkStatus();
  const int64_t count = static_cast<int64_t>(segments_.size());
  TERRACE_RETURN_IF_ERROR(device_segments_.Allocate(backend, count, Stream{}));
  return backend.Upload(device_segments_.data(), segments_.data(),
                        count * int64_t{sizeof(FillSegment)}, {});
}

absl::Status RowSource::BeginStep([[maybe_unused]] Stream stream) {
  if (on_host_) return absl::OkStatus();
#if defined(TERRACE_HAS_CUDA)
  const PlanHeader& step = store_->step();
  int32_t most_rows = step.num_token_rows;
  for (int32_t rows : step.num_entry_rows) most_rows = std::max(most_rows, rows);
  const int error = LaunchFillRows(device_segments_.data(), static_cast<int32_t>(segments_.size()),
                                   most_rows, static_cast<CUstream_st*>(stream.handle));
  return StatusOfLaunch(error, "LaunchFillRows");
#else
  return absl::OkStatus();
#endif
}

LayerRows RowSource::RowsOf(int layer) {
  const LayerSegments& segments = layers_[layer - store_->layers().first];
  return {.swa = Filled(segments.swa),
          .entries = Filled(segments.entries),
          .indexer = Filled(segments.indexer)};
}

RowsIn RowSource::Filled(int32_t index) {
  if (index < 0) return {};
  const FillSegment& segment = segments_[index];
  if (on_host_) {
    threads_->ParallelFor(*segment.count, kPieceRows,
                          [&](int64_t begin, int64_t end) { FillRows(segment, begin, end); });
  }
  return {.data = segment.rows};
}

}  // namespace terrace::tools
