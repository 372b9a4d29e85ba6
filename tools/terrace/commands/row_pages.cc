#include "tools/terrace/commands/row_pages.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/multiversion.h"
#include "src/base/status_macros.h"
#include "terrace/formats/row_codec.h"
#include "terrace/units.h"

namespace terrace::tools {
namespace {

// `count` rows into the front of one page.
template <RowFormat F>
TERRACE_MULTIVERSION int64_t EncodePage(const uint16_t* rows, const float* rope, int64_t count,
                                        int64_t page_rows, float global_scale, uint8_t* page) {
  constexpr RowLayout kLayout = LayoutOf(F);
  uint8_t* scales = page + kLayout.scale_offset(page_rows);
  int64_t bad_values = 0;
  for (int64_t t = 0; t < count; ++t) {
    bad_values += EncodeRow<F>(
        rows + t * kLayout.channels, rope == nullptr ? nullptr : rope + t * kRopeChannels,
        global_scale, page + t * kLayout.data_stride(), scales + t * kLayout.scale_stride());
  }
  return bad_values;
}

// All rows of one page; the first `rope_rows` of them are rotated.
template <RowFormat F>
TERRACE_MULTIVERSION void DecodePage(const uint8_t* page, const float* rope, int64_t rope_rows,
                                     int64_t page_rows, float global_scale, uint16_t* rows) {
  constexpr RowLayout kLayout = LayoutOf(F);
  const uint8_t* scales = page + kLayout.scale_offset(page_rows);
  for (int64_t t = 0; t < page_rows; ++t) {
    DecodeRow<F>(page + t * kLayout.data_stride(), scales + t * kLayout.scale_stride(),
                 t < rope_rows ? rope + t * kRopeChannels : nullptr, global_scale,
                 rows + t * kLayout.channels);
  }
}

std::string Describe(const NpyArray& array) {
  return absl::StrCat(NpyTypeText(array.type), " ", NpyShapeText(array));
}

bool IsMatrix(const NpyArray& array, NpyType type, int64_t columns) {
  return array.type == type && array.shape.size() == 2 && array.shape[1] == columns;
}

absl::Status CheckRopeTable(const PageOptions& options, int64_t fewest, int64_t most) {
  if (!options.rope_table.has_value()) return absl::OkStatus();
  const NpyArray& table = *options.rope_table;
  if (IsMatrix(table, NpyType::kFloat32, kRopeChannels) && table.shape[0] >= fewest &&
      table.shape[0] <= most) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the rope table is ", Describe(table), "; it must be float32 (",
                   fewest == most ? absl::StrCat(most) : absl::StrCat(fewest, "..", most), ", ",
                   kRopeChannels, "), one row per entry"));
}

}  // namespace

int64_t PageOptions::page_bytes() const { return RoundUp(PageBytes(format, page_rows), align); }

int64_t EncodePages(const uint16_t* rows, int64_t n, const float* rope, const PageOptions& options,
                    uint8_t* pages) {
  const int64_t channels = LayoutOf(options.format).channels;
  int64_t bad_values = 0;
  for (int64_t first = 0; first < n; first += options.page_rows) {
    bad_values += DispatchRowFormat(options.format, [&]<RowFormat F>() {
      return EncodePage<F>(
          rows + first * channels, rope == nullptr ? nullptr : rope + first * kRopeChannels,
          std::min(options.page_rows, n - first), options.page_rows, options.global_scale, pages);
    });
    pages += options.page_bytes();
  }
  return bad_values;
}

void DecodePages(const uint8_t* pages, int64_t num_pages, const float* rope, int64_t rope_rows,
                 const PageOptions& options, uint16_t* rows) {
  const int64_t channels = LayoutOf(options.format).channels;
  for (int64_t i = 0; i < num_pages; ++i) {
    const int64_t first = i * options.page_rows;
    DispatchRowFormat(options.format, [&]<RowFormat F>() {
      DecodePage<F>(pages + i * options.page_bytes(),
                    rope == nullptr ? nullptr : rope + first * kRopeChannels, rope_rows - first,
                    options.page_rows, options.global_scale, rows + first * channels);
    });
  }
}

absl::StatusOr<EncodedPages> EncodeRowPages(const NpyArray& rows, const PageOptions& options) {
  const int64_t channels = LayoutOf(options.format).channels;
  if (!IsMatrix(rows, NpyType::kUint16, channels)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the rows are ", Describe(rows), "; ", RowFormatName(options.format),
                     " takes bf16 bits as uint16 (n, ", channels, ")"));
  }
  const int64_t n = rows.shape[0];
  TERRACE_RETURN_IF_ERROR(CheckRopeTable(options, n, n));

  const int64_t num_pages = CeilDiv(n, options.page_rows);
  const int64_t page_bytes = options.page_bytes();
  EncodedPages encoded;
  encoded.pages = {NpyType::kUint8,
                   {num_pages, page_bytes},
                   std::vector<uint8_t>(static_cast<size_t>(num_pages * page_bytes))};
  encoded.bad_values = EncodePages(rows.data<uint16_t>(), n,
                                   options.rope_table ? options.rope_table->data<float>() : nullptr,
                                   options, encoded.pages.bytes.data());
  return encoded;
}

absl::StatusOr<NpyArray> DecodeRowPages(const NpyArray& pages, const PageOptions& options) {
  const int64_t page_bytes = options.page_bytes();
  if (!IsMatrix(pages, NpyType::kUint8, page_bytes)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the pages are ", Describe(pages), "; ", RowFormatName(options.format), " has uint8 (m, ",
        page_bytes, ") with --page ", options.page_rows, " --align ", options.align));
  }
  const int64_t channels = LayoutOf(options.format).channels;
  const int64_t num_pages = pages.shape[0];
  const int64_t n = num_pages * options.page_rows;
  TERRACE_RETURN_IF_ERROR(
      CheckRopeTable(options, std::max<int64_t>(n - options.page_rows + 1, 0), n));

  std::vector<uint16_t> rows(static_cast<size_t>(n * channels));
  DecodePages(pages.data<uint8_t>(), num_pages,
              options.rope_table ? options.rope_table->data<float>() : nullptr,
              options.rope_table ? options.rope_table->shape[0] : 0, options, rows.data());
  return MakeNpyArray<uint16_t>({n, channels}, rows);
}

}  // namespace terrace::tools
