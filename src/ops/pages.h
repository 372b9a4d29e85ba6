// Where bytes lie, as kernels see it: of one plane (PlanePages), of opaque pages (StatePages,
// PoolStatePages), and of one row (RowAddress). PoolPages and PageView of terrace/page_view.h say
// it of a whole pool and to users.

#ifndef TERRACE_SRC_OPS_PAGES_H_
#define TERRACE_SRC_OPS_PAGES_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"

namespace terrace::internal {

// One layer and plane of a pool that holds rows.
//
//   page of block b:      page = base + b * block_stride
//   data row t of it:     page + t * data_stride()
//   scale row t of it:    page + scale_offset + t * scale_stride()
//
// The strides are those of the format's RowLayout.
struct PlanePages {
  uint8_t* base;         // page of block 0
  int64_t block_stride;  // bytes
  // Bytes from a page's start to its first scale row: RowLayout::scale_offset(entries_per_block).
  int64_t scale_offset;
  int32_t log2_entries_per_block;
  // capacity_blocks * entries_per_block; a slot is valid iff 0 <= slot < num_slots.
  int32_t num_slots;
  RowFormat format;
  float global_scale;  // read by formats with HasGlobalScale
};

// The page of a slot, and which row of it the slot is. REQUIRES: 0 <= slot < num_slots.
TERRACE_HOST_DEVICE uint8_t* PageOfSlot(const PlanePages& pages, int32_t slot) {
  return pages.base + (slot >> pages.log2_entries_per_block) * pages.block_stride;
}
TERRACE_HOST_DEVICE int32_t RowInPage(const PlanePages& pages, int32_t slot) {
  return slot & ((1 << pages.log2_entries_per_block) - 1);
}

// The data row and the scale row of a slot.
struct RowAddress {
  uint8_t* data;
  uint8_t* scale;
};
// REQUIRES: 0 <= slot < num_slots; F is the pages' format.
template <RowFormat F>
TERRACE_HOST_DEVICE RowAddress AddressOfRow(const PlanePages& pages, int32_t slot) {
  constexpr RowLayout kLayout = LayoutOf(F);
  uint8_t* const page = PageOfSlot(pages, slot);
  const int32_t row = RowInPage(pages, slot);
  return {page + row * kLayout.data_stride(),
          page + pages.scale_offset + row * kLayout.scale_stride()};
}

// One layer's pages of a state or overlap pool: block b is at base + b * block_stride.
struct StatePages {
  uint8_t* base;         // null: the layer has none
  int64_t block_stride;  // bytes
  int32_t num_blocks;
};

// All layers' pages of a pool in this store.
//
//   page of row r and block b: base + r * layer_stride + b * block_stride
struct PoolStatePages {
  StatePages pages;
  int64_t layer_stride;  // bytes
  int32_t rows;          // 0: the store has none
};

// One layer's page, or null for a block that the pool does not have.
TERRACE_HOST_DEVICE float* PageOfBlock(const StatePages& pages, int32_t block) {
  if (block < 0 || block >= pages.num_blocks) return nullptr;
  return reinterpret_cast<float*>(pages.base + block * pages.block_stride);
}
TERRACE_HOST_DEVICE float* PageOfBlock(const PoolStatePages& layers, int32_t row, int32_t block) {
  if (block < 0 || block >= layers.pages.num_blocks) return nullptr;
  return reinterpret_cast<float*>(layers.pages.base + row * layers.layer_stride +
                                  block * layers.pages.block_stride);
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_OPS_PAGES_H_
