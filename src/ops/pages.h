// PlanePages: one (layer, plane) of a pool as kernels see it.
//
//   page of block b:      page = base + b * block_stride
//   data row t of it:     page + t * data_bytes
//   scale row t of it:    page + scale_offset + t * scale_bytes

#ifndef TERRACE_SRC_OPS_PAGES_H_
#define TERRACE_SRC_OPS_PAGES_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "terrace/formats/row_format.h"

namespace terrace {

struct PlanePages {
  uint8_t* base;         // page of block 0
  int64_t block_stride;  // bytes
  // Bytes from a page's start to its scale rows: entries_per_block * data_bytes.
  int64_t scale_offset;
  int32_t log2_entries_per_block;
  // capacity_blocks * entries_per_block; a slot is valid iff 0 <= slot < num_slots.
  int32_t num_slots;
  RowFormat format;
  float global_scale;  // nvfp4 only
};

// Where the rows of a slot are: row `row` of a page.
// REQUIRES: 0 <= slot < num_slots.
struct RowAddress {
  uint8_t* page;
  int32_t row;
};
TERRACE_HOST_DEVICE RowAddress FindRow(const PlanePages& pages, int32_t slot) {
  return {pages.base + (slot >> pages.log2_entries_per_block) * pages.block_stride,
          slot & ((1 << pages.log2_entries_per_block) - 1)};
}

}  // namespace terrace

#endif  // TERRACE_SRC_OPS_PAGES_H_
