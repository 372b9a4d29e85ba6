// The compressor's state in this store: its pages, and what Begin does to it.

#include "src/store/store_impl.h"

namespace terrace::internal {

// None for pool -1, and for one that has no blocks.
StatePages StoreImpl::StatePagesOf(const LayerPages& row) const {
  if (row.pool < 0) return {};
  const PoolMemory& memory = pools_[row.pool];
  if (memory.base == nullptr) return {};
  return {memory.base + row.index * memory.place.layer_stride, memory.place.block_stride,
          geometry_.pools[row.pool].capacity_blocks};
}

// No rows for pool -1, and for one that no layer of this store writes.
PoolStatePages StoreImpl::LayerPagesOf(int pool) const {
  if (pool < 0) return {};
  const PoolMemory& memory = pools_[pool];
  return {{memory.base, memory.place.block_stride, geometry_.pools[pool].capacity_blocks},
          memory.place.layer_stride,
          memory.base == nullptr ? 0 : memory.place.layers};
}

CsaStateLayout StoreImpl::CsaLayout() const {
  int32_t indexer_channels = 0;
  for (const PoolSpec& pool : model_.pools) {
    if (pool.kind == PoolKind::kFull && pool.ratio == kCsaRatio && pool.planes.size() > 1) {
      indexer_channels = kIndexerChannels;
    }
  }
  return {indexer_channels, geometry_.max_drafts};
}

absl::Status StoreImpl::EnqueueCaptureOverlap(const CheckpointRecord* records, int32_t count,
                                              Stream stream) {
  CaptureOverlapParams params{};
  params.state = LayerPagesOf(CsaStatePool(geometry_).value());
  params.overlap = LayerPagesOf(geometry_.overlap_pool);
  if (count == 0 || params.state.rows == 0 || params.overlap.rows == 0) return absl::OkStatus();
  params.layout = CsaLayout();
  params.records = records;
  params.count = count;
  return On(stream).CaptureOverlap(params, stream);
}

absl::Status StoreImpl::EnqueueRestoreState(const RestoreRecord* records, int32_t count,
                                            Stream stream) {
  const int csa_pool = StatePool(model_, kCsaRatio).value();
  const int hca_pool = StatePool(model_, kHcaRatio).value();
  RestoreStateParams params{};
  params.csa_state = LayerPagesOf(csa_pool);
  params.hca_state = LayerPagesOf(hca_pool);
  if (count == 0 || params.csa_state.rows + params.hca_state.rows == 0) return absl::OkStatus();
  params.csa_layout = CsaLayout();
  params.overlap = LayerPagesOf(geometry_.overlap_pool);
  if (csa_pool >= 0) params.csa_table = view_.block_table[csa_pool];
  if (hca_pool >= 0) params.hca_table = view_.block_table[hca_pool];
  params.records = records;
  params.count = count;
  return On(stream).RestoreState(params, stream);
}

}  // namespace terrace::internal
