#include "tools/terrace/verify/overlap_rows.h"

#include "absl/strings/str_format.h"
#include "src/base/multiversion.h"
#include "src/base/status_macros.h"
#include "tools/terrace/contents/contents.h"

namespace terrace::tools {
namespace {

uint8_t* PageOf(const PageView& pages, int32_t block) {
  return static_cast<uint8_t*>(pages.base) + block * pages.block_stride;
}

TERRACE_MULTIVERSION void FillPage(uint64_t seed, int64_t values, uint16_t* page) {
  FillContent(seed, static_cast<int32_t>(values), page);
}

}  // namespace

OverlapRows::OverlapRows(Store* store, const PrefixKeys* keys)
    : store_(store), keys_(*keys), requests_(store->geometry().max_sequences, -1) {
  if (store->geometry().overlap_pool < 0) return;
  const LayerRange range = store->layers();
  for (int layer = range.first; layer < range.first + range.count; ++layer) {
    const auto pages = store->Pages(layer, PoolKind::kOverlap);
    if (pages.ok()) layers_.push_back({layer, *pages});
  }
}

// Checkpoint records before the first sequence's belong to earlier steps, and to the request that
// had the sequence index then. The others, and all restores, belong to this step's sequences.
absl::Status OverlapRows::RunStep(const Plan& plan, absl::Span<const StepSequence> sequences,
                                  Stream stream) {
  if (layers_.empty()) return absl::OkStatus();
  const absl::Span<const CheckpointRecord> checkpoints = plan.checkpoints();
  const size_t inside = plan.sequences().front().checkpoint_begin;
  TERRACE_RETURN_IF_ERROR(Capture(checkpoints.first(inside), stream));
  for (size_t i = 0; i < sequences.size(); ++i) {
    requests_[plan.sequences()[i].sequence_index] = sequences[i].request;
  }
  for (const RestoreRecord& restore : plan.restores()) {
    if (restore.overlap_block < 0) continue;
    TERRACE_RETURN_IF_ERROR(Check(restore, stream));
  }
  return Capture(checkpoints.subspan(inside), stream);
}

uint64_t OverlapRows::SeedOf(int32_t sequence_index, int32_t position, int32_t layer) const {
  const uint64_t key = keys_.Of(requests_[sequence_index], position - 1);
  return ContentSeed(key, position, {store_->geometry().overlap_pool, layer, 0});
}

absl::Status OverlapRows::Capture(absl::Span<const CheckpointRecord> checkpoints, Stream stream) {
  for (const CheckpointRecord& checkpoint : checkpoints) {
    for (const LayerPages& layer : layers_) {
      page_.resize(layer.pages.page_bytes / sizeof(uint16_t));
      FillPage(SeedOf(checkpoint.sequence_index, checkpoint.position, layer.layer),
               static_cast<int64_t>(page_.size()), page_.data());
      TERRACE_RETURN_IF_ERROR(
          store_->backend().Upload(PageOf(layer.pages, checkpoint.overlap_block), page_.data(),
                                   layer.pages.page_bytes, stream));
    }
  }
  return absl::OkStatus();
}

absl::Status OverlapRows::Check(const RestoreRecord& restore, Stream stream) {
  const LayerPages& layer = layers_[restores_++ % layers_.size()];
  page_.resize(layer.pages.page_bytes / sizeof(uint16_t));
  found_.resize(page_.size());
  FillPage(SeedOf(restore.sequence_index, restore.position, layer.layer),
           static_cast<int64_t>(page_.size()), page_.data());
  TERRACE_RETURN_IF_ERROR(store_->backend().Download(
      found_.data(), PageOf(layer.pages, restore.overlap_block), layer.pages.page_bytes, stream));
  ++stats_.verified_rows;
  ++stats_.verified_by_class[static_cast<int>(RowClass::kShared)];
  if (found_ == page_) return absl::OkStatus();
  ++stats_.corrupt_rows;
  if (stats_.first_corrupt.size() < VerifierStats::kMostReported) {
    stats_.first_corrupt.push_back(absl::StrFormat(
        "request %d, overlap rows restored before position %d, layer %d, block %d",
        requests_[restore.sequence_index], restore.position, layer.layer, restore.overlap_block));
  }
  return absl::OkStatus();
}

}  // namespace terrace::tools
