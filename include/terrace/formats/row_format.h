// Row formats: how one entry of a plane becomes bytes. Sizes only; the arithmetic is in
// row_codec.h. A page holds P data rows, then P scale rows (docs/formats.md).

#ifndef TERRACE_FORMATS_ROW_FORMAT_H_
#define TERRACE_FORMATS_ROW_FORMAT_H_

#include <cstdint>

#include "terrace/formats/host_device.h"

#if !defined(__CUDACC__)  // kernels need the sizes only, and Abseil is slow to compile under nvcc
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#endif

namespace terrace {

enum class RowFormat : int32_t {
  kBf16 = 0,
  kFp8PerToken = 1,
  kNvfp4 = 2,
  kFlashMlaV4 = 3,
  kMxfp8V41 = 4,
  kIndexerFp8 = 5,
  kIndexerMxfp4 = 6,
};
inline constexpr int kNumRowFormats = 7;

inline constexpr int kLatentChannels = 512;   // 448 NoPE, then 64 RoPE
inline constexpr int kIndexerChannels = 128;  // the last 64 rotate
inline constexpr int kRopeChannels = 64;      // always the last ones of a row

// Sizes of one row. channels * 2 bytes of bf16 come in and go out.
struct RowLayout {
  int32_t channels;
  int32_t data_bytes;
  int32_t scale_bytes;
  int32_t group;  // channels that share one scale; 0 where there is none
};

TERRACE_HOST_DEVICE constexpr RowLayout LayoutOf(RowFormat format) {
  switch (format) {
    case RowFormat::kBf16:
      return {512, 1024, 0, 0};
    case RowFormat::kFp8PerToken:
      return {512, 512, 2, 512};
    case RowFormat::kNvfp4:
      return {512, 256, 32, 16};
    case RowFormat::kFlashMlaV4:
      return {512, 576, 8, 64};
    case RowFormat::kMxfp8V41:
      return {512, 512, 16, 32};
    case RowFormat::kIndexerFp8:
      return {128, 128, 4, 128};
    case RowFormat::kIndexerMxfp4:
      return {128, 64, 4, 32};
  }
  return {0, 0, 0, 0};
}

// Useful bytes of a page of `entries` rows, before any alignment.
TERRACE_HOST_DEVICE constexpr int64_t PageBytes(RowFormat format, int64_t entries) {
  const RowLayout layout = LayoutOf(format);
  return entries * (layout.data_bytes + layout.scale_bytes);
}

#if !defined(__CUDACC__)
// The names of docs/formats.md: "flashmla_v4", "nvfp4", ...
absl::string_view RowFormatName(RowFormat format);

// Errors: InvalidArgument that lists the known names.
absl::StatusOr<RowFormat> ParseRowFormat(absl::string_view name);
#endif

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROW_FORMAT_H_
