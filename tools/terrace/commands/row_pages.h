// Rows of bf16 to pages and back, as arrays: the work of `terrace encode` and `terrace decode`.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_ROW_PAGES_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_ROW_PAGES_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "terrace/formats/row_format.h"
#include "tools/terrace/npy.h"

namespace terrace::tools {

struct PageOptions {
  RowFormat format = RowFormat::kFlashMlaV4;
  int64_t page_rows = 64;              // a power of two
  int64_t align = 16;                  // every page is padded to a multiple of it
  float global_scale = 1;              // read by formats with HasGlobalScale
  std::optional<NpyArray> rope_table;  // float32 [rows, 64], 32 cosines then 32 sines a row

  int64_t page_bytes() const;  // padding included
};

struct EncodedPages {
  NpyArray pages;  // uint8 [ceil(rows / page_rows), page_bytes]; what is not written is zero
  int64_t bad_values = 0;  // NaN and infinities that were replaced
};

// Between arrays of the caller's. Nothing is checked; PageOptions::rope_table is not read.
// Shape: rows [n, channels], rope [n, 64] or null, pages [ceil(n / page_rows), page_bytes] of zeros.
// Returns how many NaN and infinities were replaced.
int64_t EncodePages(const uint16_t* rows, int64_t n, const float* rope, const PageOptions& options,
                    uint8_t* pages);
// Shape: pages [num_pages, page_bytes], rope [rope_rows, 64] or null, rows [num_pages * page_rows,
// channels].
void DecodePages(const uint8_t* pages, int64_t num_pages, const float* rope, int64_t rope_rows,
                 const PageOptions& options, uint16_t* rows);

// Rotates rows if there is a rope table, then encodes. Shape: rows uint16 [n, channels].
// Errors: InvalidArgument that names the shape that does not fit.
absl::StatusOr<EncodedPages> EncodeRowPages(const NpyArray& rows, const PageOptions& options);

// Decodes all rows of every page, then rotates those that the rope table has a row for.
// Shape: pages uint8 [m, page_bytes] to uint16 [m * page_rows, channels]; the rope table ends in
// the last page.   Errors: as EncodeRowPages.
absl::StatusOr<NpyArray> DecodeRowPages(const NpyArray& pages, const PageOptions& options);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_ROW_PAGES_H_
