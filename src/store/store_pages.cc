// Where a layer's pages are, and what is set of them before they are written.

#include <cmath>

#include "src/base/status_macros.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"

namespace terrace::internal {

absl::Status StoreImpl::CheckLayer(int layer_index) const {
  const int32_t last = layers_.first + layers_.count - 1;
  if (layer_index >= layers_.first && layer_index <= last) return absl::OkStatus();
  return Invalid("layer ", layer_index, " is not in this store's ", layers_.first, "..", last);
}

absl::StatusOr<LayerPages> StoreImpl::FindRow(int layer_index, PoolKind kind) const {
  TERRACE_RETURN_IF_ERROR(CheckLayer(layer_index));
  if (static_cast<int>(kind) < 0 || static_cast<int>(kind) >= kNumPoolKinds) {
    return Invalid("unknown kind of pool ", static_cast<int>(kind));
  }
  const LayerPages& row = LayerOf(layer_index).of(kind);
  if (row.pool < 0) return Invalid("layer ", layer_index, " has no ", PoolKindName(kind), " pool");
  return row;
}

absl::Status StoreImpl::CheckPlane(const LayerPages& row, int plane) const {
  const PoolSpec& pool = model_.pools[row.pool];
  if (plane < 0 || plane >= static_cast<int>(pool.planes.size())) {
    return Invalid("pool ", pool.name, " has ", pool.planes.size(), " planes, no plane ", plane,
                   plane == static_cast<int>(PlaneKind::kIndexer) ? " (indexer)" : "");
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::CheckSlots(const SlotList& slots) {
  if (slots.count < 0 || slots.count > kMaxSlots) {
    return Invalid("count is ", slots.count, ", not in 0..", kMaxSlots);
  }
  if (slots.count > 0 && slots.slots == nullptr) {
    return Invalid("the slots are null, and count is ", slots.count, ", not 0");
  }
  if (!IsAligned(slots.slots, 4) || !IsAligned(slots.positions, 4)) {
    return Invalid("the slots or positions are not 4-byte aligned");
  }
  return absl::OkStatus();
}

absl::StatusOr<RopeTableView> StoreImpl::RopeOf(int layer_index) const {
  if (ropes_.empty()) {
    return absl::FailedPreconditionError("rows rotate here: call SetRopeTables first");
  }
  return ropes_[LayerOf(layer_index).rope];
}

absl::Status StoreImpl::CheckStepBegun() const {
  TERRACE_RETURN_IF_ERROR(torn_);
  if (begun_) return absl::OkStatus();
  return absl::FailedPreconditionError("no step has begun: call Begin with a plan first");
}

PlanePages StoreImpl::PagesOf(const LayerPages& row, int plane) const {
  const PoolMemory& memory = pools_[row.pool];
  const PoolGeometry& pool = geometry_.pools[row.pool];
  const RowFormat format = plane_spec(row, plane).format;
  return {.base = memory.base + row.index * memory.place.layer_stride +
                  memory.place.plane_offset[plane],
          .block_stride = memory.place.block_stride,
          .scale_offset = LayoutOf(format).scale_offset(pool.entries_per_block),
          .log2_entries_per_block = pool.log2_entries_per_block,
          .num_slots = pool.capacity_blocks * pool.entries_per_block,
          .format = format,
          .global_scale = plane == static_cast<int>(PlaneKind::kLatent)
                              ? memory.global_scale[row.index]
                              : 1.0f};
}

absl::Status StoreImpl::SetRopeTables(absl::Span<const RopeTableView> tables) {
  if (tables.size() != model_.ropes.size()) {
    return Invalid(tables.size(), " rope tables for ", model_.ropes.size(), " ropes");
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].positions < 1) {
      return Invalid("rope table ", i, ": positions is ", tables[i].positions, ", not 1 or more");
    }
    if (tables[i].data == nullptr || !IsAligned(tables[i].data, 16)) {
      return Invalid("rope table ", i, " is null or not 16-byte aligned");
    }
  }
  ropes_.assign(tables.begin(), tables.end());
  return absl::OkStatus();
}

absl::Status StoreImpl::SetGlobalScale(int layer, PoolKind pool, float scale) {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, pool));
  TERRACE_RETURN_IF_ERROR(CheckPlane(row, 0));
  if (!std::isfinite(scale) || scale <= 0) {
    return Invalid("the global scale is ", scale, ", not finite and above 0");
  }
  PoolMemory& memory = pools_[row.pool];
  if (memory.written[row.index]) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer, " of pool ", model_.pools[row.pool].name,
                     " was written already: its global scale is fixed"));
  }
  memory.global_scale[row.index] = scale;
  return absl::OkStatus();
}

absl::StatusOr<PageView> StoreImpl::Pages(int layer, PoolKind pool, PlaneKind plane) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, pool));
  const int plane_index = static_cast<int>(plane);
  const PoolGeometry& geometry = geometry_.pools[row.pool];
  if (!HoldsRows(geometry.kind)) {
    if (plane != PlaneKind::kLatent) {
      return Invalid("pages of pool ", model_.pools[row.pool].name, " have no planes");
    }
    const PoolMemory& memory = pools_[row.pool];
    // The overlap pool may have no blocks, and then no memory.
    uint8_t* const base =
        memory.base == nullptr ? nullptr : memory.base + row.index * memory.place.layer_stride;
    return PageView{.base = base,
                    .block_stride = memory.place.block_stride,
                    .page_bytes = memory.place.page_bytes[0],
                    .num_blocks = geometry.capacity_blocks,
                    .entries_per_block = 1};
  }
  TERRACE_RETURN_IF_ERROR(CheckPlane(row, plane_index));
  const PlanePages pages = PagesOf(row, plane_index);
  const RowLayout layout = LayoutOf(pages.format);
  return PageView{.base = pages.base,
                  .block_stride = pages.block_stride,
                  .page_bytes = pools_[row.pool].place.page_bytes[plane_index],
                  .num_blocks = geometry.capacity_blocks,
                  .entries_per_block = geometry.entries_per_block,
                  .format = pages.format,
                  .data_bytes = layout.data_bytes,
                  .scale_bytes = layout.scale_bytes,
                  .data_stride = layout.data_stride(),
                  .scale_stride = layout.scale_stride(),
                  .scale_offset = pages.scale_offset};
}

int64_t StoreImpl::memory_bytes() const {
  int64_t bytes = tables_bytes_.size();
  for (const PoolMemory& pool : pools_) bytes += pool.place.total_bytes;
  return bytes;
}

}  // namespace terrace::internal
