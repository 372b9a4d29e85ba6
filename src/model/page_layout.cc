#include "src/model/page_layout.h"

#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/units.h"

namespace terrace::internal {

PoolPages PlacePages(const PoolSpec& pool, int32_t rows, int64_t blocks, int32_t max_drafts) {
  PoolPages place;
  place.layers = rows;
  place.num_planes = HoldsRows(pool.kind) ? static_cast<int32_t>(pool.planes.size()) : 1;
  place.blocks = blocks;

  int64_t useful = 0;  // of one layer in one block
  int64_t padded = 0;
  const auto add_page = [&](int plane, int64_t bytes) {
    place.page_bytes[plane] = bytes;
    place.plane_offset[plane] = padded;
    useful += bytes;
    padded += RoundUp(bytes, pool.page_align);
  };
  const int32_t entries = EntriesPerPage(pool);
  for (int plane = 0; plane < static_cast<int>(pool.planes.size()); ++plane) {
    add_page(plane, PageBytes(pool.planes[plane].format, entries));
  }
  if (!HoldsRows(pool.kind)) {
    add_page(0, pool.opaque_bytes + max_drafts * pool.opaque_bytes_per_draft);
  }

  const int32_t pages = pool.entries_per_block / entries;
  place.pages_per_block = pages;
  int64_t reserved = 0;  // of all layers in one block
  if (pool.layout == PoolLayout::kBlockMajor) {
    place.page_stride = RoundUp(rows * padded, pool.block_align);
    place.layer_stride = padded;
    place.block_stride = reserved = pages * place.page_stride;
    place.copy_bytes = reserved - place.page_stride + rows * padded;
    place.copy_pieces = 1;
  } else {
    place.page_stride = RoundUp(padded, pool.block_align);
    place.block_stride = pages * place.page_stride;
    place.layer_stride = blocks * place.block_stride;
    reserved = rows * place.block_stride;
    place.copy_bytes = place.block_stride - place.page_stride + padded;
    place.copy_pieces = rows;
  }
  place.total_bytes = blocks * reserved;
  place.useful_bytes_per_block = pages * rows * useful;
  place.page_padding_bytes_per_block = pages * rows * (padded - useful);
  place.block_padding_bytes_per_block = reserved - pages * rows * padded;
  return place;
}

}  // namespace terrace::internal
