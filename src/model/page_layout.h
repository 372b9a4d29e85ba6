// Lays the pages of a pool out in a store's memory.

#ifndef TERRACE_SRC_MODEL_PAGE_LAYOUT_H_
#define TERRACE_SRC_MODEL_PAGE_LAYOUT_H_

#include <cstdint>

#include "terrace/model.h"
#include "terrace/page_view.h"

namespace terrace::internal {

// Of a layer and plane.
inline int32_t EntriesPerPage(const PoolSpec& pool) {
  return pool.entries_per_page != 0 ? pool.entries_per_page : pool.entries_per_block;
}

// `rows` layers of `pool` in `blocks` blocks; `max_drafts` of Limits says how large pages of a
// state pool are.
// REQUIRES: a pool that ValidateModel accepts; rows, blocks, max_drafts >= 0.
PoolPages PlacePages(const PoolSpec& pool, int32_t rows, int64_t blocks, int32_t max_drafts = 0);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_MODEL_PAGE_LAYOUT_H_
