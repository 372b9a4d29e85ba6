#include "src/store/rope_tables.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/status.h"
#include "src/base/status_macros.h"
#include "terrace/formats/rope.h"

namespace terrace::internal {
namespace {

constexpr int64_t kSlabPositions = 1 << 15;  // 8 MiB of table at a time on its way to the backend
constexpr int64_t kPiecePositions = 1 << 10;

absl::Status Fill(const RopeSpec& rope, ThreadPool& pool, BackendBuffer<float>& table) {
  const std::array<double, kRopePairs> frequencies = RopeFrequencies(rope);
  const int64_t positions = table.size() / kRopeChannels;
  std::vector<float> slab(std::min(positions, kSlabPositions) * kRopeChannels);
  for (int64_t first = 0; first < positions; first += kSlabPositions) {
    const int64_t count = std::min(kSlabPositions, positions - first);
    pool.ParallelFor(count, kPiecePositions, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        FillRopeRow(frequencies, first + i, slab.data() + i * kRopeChannels);
      }
    });
    const absl::Span<const float> angles(slab.data(), count * kRopeChannels);
    TERRACE_RETURN_IF_ERROR(table.Upload(angles, Stream{}, first * kRopeChannels));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeTables> RopeTables::Create(const ModelSpec& model, int32_t max_positions,
                                              Backend& backend, ThreadPool& pool) {
  RopeTables tables;
  for (size_t i = 0; i < model.ropes.size(); ++i) {
    const bool used =
        std::any_of(model.layers.begin(), model.layers.end(),
                    [i](const LayerSpec& layer) { return layer.rope == static_cast<int32_t>(i); });
    const int32_t positions = used ? max_positions : 1;
    TERRACE_ASSIGN_OR_RETURN(
        BackendBuffer<float> table,
        BackendBuffer<float>::Make(backend, int64_t{positions} * kRopeChannels, Stream{}));
    TERRACE_RETURN_IF_ERROR(Fill(model.ropes[i], pool, table));
    tables.views_.push_back({table.data(), positions});
    tables.tables_.push_back(std::move(table));
  }
  TERRACE_RETURN_IF_ERROR(backend.Synchronize(Stream{}));
  return tables;
}

}  // namespace terrace::internal
