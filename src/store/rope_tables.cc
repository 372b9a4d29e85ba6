#include "src/store/rope_tables.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "terrace/formats/rope.h"

namespace terrace::internal {
namespace {

constexpr int64_t kSlabPositions = 1 << 15;  // 8 MiB of table at a time on its way to the backend
constexpr int64_t kPiecePositions = 1 << 10;
constexpr int64_t kPositionBytes = kRopeChannels * sizeof(float);

std::array<double, kRopePairs> Frequencies(const RopeSpec& rope) {
  if (rope.yarn_factor <= 1) return RopeFrequencies(rope.base);
  return RopeFrequencies(rope.base, YarnScaling{.factor = rope.yarn_factor,
                                                .original_length = rope.yarn_original_length,
                                                .beta_fast = rope.yarn_beta_fast,
                                                .beta_slow = rope.yarn_beta_slow});
}

absl::Status Upload(const RopeSpec& rope, int64_t positions, Backend& backend, ThreadPool& pool,
                    void* table) {
  const std::array<double, kRopePairs> frequencies = Frequencies(rope);
  std::vector<float> slab(std::min(positions, kSlabPositions) * kRopeChannels);
  for (int64_t first = 0; first < positions; first += kSlabPositions) {
    const int64_t count = std::min(kSlabPositions, positions - first);
    pool.ParallelFor(count, kPiecePositions, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        FillRopeRow(frequencies, first + i, slab.data() + i * kRopeChannels);
      }
    });
    void* const to = static_cast<char*>(table) + first * kPositionBytes;
    if (absl::Status status = backend.Upload(to, slab.data(), count * kPositionBytes, Stream{});
        !status.ok()) {
      return status;
    }
  }
  return backend.Synchronize(Stream{});
}

}  // namespace

RopeTables::~RopeTables() {
  for (void* const table : tables_) backend_->Free(table);
}

absl::StatusOr<RopeTables> RopeTables::Create(const ModelSpec& model, int32_t max_positions,
                                              std::shared_ptr<Backend> backend, ThreadPool& pool) {
  RopeTables tables(std::move(backend));
  for (size_t i = 0; i < model.ropes.size(); ++i) {
    const bool used =
        std::any_of(model.layers.begin(), model.layers.end(),
                    [i](const LayerSpec& layer) { return layer.rope == static_cast<int32_t>(i); });
    const int32_t positions = used ? max_positions : 1;
    const absl::StatusOr<void*> table = tables.backend_->Allocate(positions * kPositionBytes);
    if (!table.ok()) return table.status();
    tables.tables_.push_back(*table);
    tables.views_.push_back({static_cast<const float*>(*table), positions});
    if (absl::Status status = Upload(model.ropes[i], positions, *tables.backend_, pool, *table);
        !status.ok()) {
      return status;
    }
  }
  return tables;
}

}  // namespace terrace::internal
