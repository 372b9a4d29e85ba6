// Where bytes lie: of a whole pool in one store's memory (PoolPages), and of one layer and plane
// (PageView), for kernels that read in place.

#ifndef TERRACE_PAGE_VIEW_H_
#define TERRACE_PAGE_VIEW_H_

#include <cstdint>

#include "terrace/formats/row_format.h"
#include "terrace/pool_kinds.h"

namespace terrace {

// Where the bytes of a pool lie in one store's memory. Offsets are 64-bit everywhere.
//
//   address(block, row, plane) =
//       base + block * block_stride + row * layer_stride + plane_offset[plane]
//
// Block-major: an extent [layer][plane][page] a block, rounded up once to block_align.
// Layer-major: [layer][block][plane][page], the planes of one block rounded up to block_align.
// Overlap and state pools have one plane, of opaque_bytes a page and more for each draft.
struct PoolPages {
  int32_t layers = 0;  // layers of this store whose pages the pool holds
  int32_t num_planes = 0;
  int64_t blocks = 0;
  int64_t block_stride = 0;  // bytes between two blocks of one layer
  int64_t layer_stride = 0;  // bytes between two layers of one block
  int64_t total_bytes = 0;   // of the whole pool
  int64_t copy_bytes = 0;    // one block is `copy_pieces` pieces of copy_bytes, layer_stride apart
  int32_t copy_pieces = 0;
  int64_t plane_offset[kMaxPlanes] = {};
  int64_t page_bytes[kMaxPlanes] = {};        // useful: data rows and scale rows
  int64_t useful_bytes_per_block = 0;         // over all rows and planes
  int64_t page_padding_bytes_per_block = 0;   // pages rounded up to page_align
  int64_t block_padding_bytes_per_block = 0;  // the rest up to what a block reserves
  int64_t reserved_bytes_per_block() const {
    return useful_bytes_per_block + page_padding_bytes_per_block + block_padding_bytes_per_block;
  }
};

// One layer's pages of one plane, for kernels that read in place. Valid as long as the store.
// Overlap and state pools: block b is the page_bytes at base + b * block_stride, whatever they
// hold; it has no rows and no format.
//
//   page of slot s:      page = base + (s / entries) * block_stride
//   data row of slot s:  page + (s % entries) * data_stride
//   scale row of slot s: page + scale_offset + (s % entries) * scale_stride
//
// Split formats have all data rows first: data_stride is data_bytes, scale_stride is scale_bytes,
// and scale_offset is entries * data_bytes. In interleaved formats both strides are the bytes of a
// row, scale_offset is data_bytes, and block_stride is a multiple of the row: slot s lies at
// base + (s / entries) * block_stride + (s % entries) * data_stride.
struct PageView {
  void* base = nullptr;
  int64_t block_stride = 0;  // bytes
  int64_t page_bytes = 0;    // data rows and scale rows
  int32_t num_blocks = 0;
  int32_t entries_per_block = 0;
  RowFormat format = RowFormat::kBf16;
  int32_t data_bytes = 0;   // of a row
  int32_t scale_bytes = 0;  // of a row
  int32_t data_stride = 0;  // bytes between the data rows of neighbouring slots of a page
  int32_t scale_stride = 0;
  int64_t scale_offset = 0;  // bytes from a page's start to its first scale row
};

}  // namespace terrace

#endif  // TERRACE_PAGE_VIEW_H_
