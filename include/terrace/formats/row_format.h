// Row formats: how one entry of a plane becomes bytes. Sizes only; the arithmetic is in
// row_codec.h. A page holds P data rows, then P scale rows, or P rows that have their scales behind
// their data (docs/formats.md).

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
  kMxfp8V41Il = 7,
  kNvfp4V41Il = 8,
  kFp8PerTensor = 9,
  kNvfp4Rope = 10,
};
inline constexpr int kNumRowFormats = 11;

inline constexpr int kLatentChannels = 512;   // 448 NoPE, then 64 RoPE
inline constexpr int kIndexerChannels = 128;  // the last 64 rotate
inline constexpr int kRopeChannels = 64;      // always the last ones of a row

// What a quantized channel is stored as.
enum class ChannelCode : int32_t { kNone, kE4m3, kE2m1 };

// What a group's scale is stored as.
enum class ScaleCode : int32_t { kNone, kBf16, kE4m3, kUe8m0, kFloat32 };

// Whether the scale rows of a page follow all its data rows, or each row's scales its own data.
enum class ScalePlace : int32_t { kBehindPage, kBehindRow };

// Sizes of one row, and where rows lie in a page. channels * 2 bytes of bf16 come in and go out.
//
//   data row t of a page:   page + t * data_stride()
//   scale row t of a page:  page + scale_offset(entries) + t * scale_stride()
struct RowLayout {
  int32_t channels;
  int32_t data_bytes;
  int32_t scale_bytes;
  int32_t group;      // channels that share one scale; 0 where there is none
  int32_t quantized;  // the first of the channels, stored as `code`; the rest stay bf16
  ChannelCode code;
  ScaleCode scale;
  ScalePlace place;

  TERRACE_HOST_DEVICE constexpr int32_t row_bytes() const { return data_bytes + scale_bytes; }
  TERRACE_HOST_DEVICE constexpr int32_t data_stride() const {
    return place == ScalePlace::kBehindRow ? row_bytes() : data_bytes;
  }
  TERRACE_HOST_DEVICE constexpr int32_t scale_stride() const {
    return place == ScalePlace::kBehindRow ? row_bytes() : scale_bytes;
  }
  TERRACE_HOST_DEVICE constexpr int64_t scale_offset(int64_t entries) const {
    return place == ScalePlace::kBehindRow ? data_bytes : entries * data_bytes;
  }
};

TERRACE_HOST_DEVICE constexpr RowLayout LayoutOf(RowFormat format) {
  constexpr ChannelCode kE4m3 = ChannelCode::kE4m3;
  constexpr ChannelCode kE2m1 = ChannelCode::kE2m1;
  constexpr ScalePlace kSplit = ScalePlace::kBehindPage;
  constexpr ScalePlace kInRow = ScalePlace::kBehindRow;
  switch (format) {
    case RowFormat::kBf16:
      return {512, 1024, 0, 0, 0, ChannelCode::kNone, ScaleCode::kNone, kSplit};
    case RowFormat::kFp8PerToken:
      return {512, 512, 2, 512, 512, kE4m3, ScaleCode::kBf16, kSplit};
    case RowFormat::kNvfp4:
      return {512, 256, 32, 16, 512, kE2m1, ScaleCode::kE4m3, kSplit};
    case RowFormat::kFlashMlaV4:
      return {512, 576, 8, 64, 448, kE4m3, ScaleCode::kUe8m0, kSplit};
    case RowFormat::kMxfp8V41:
      return {512, 512, 16, 32, 512, kE4m3, ScaleCode::kUe8m0, kSplit};
    case RowFormat::kIndexerFp8:
      return {128, 128, 4, 128, 128, kE4m3, ScaleCode::kFloat32, kSplit};
    case RowFormat::kIndexerMxfp4:
      return {128, 64, 4, 32, 128, kE2m1, ScaleCode::kUe8m0, kSplit};
    case RowFormat::kMxfp8V41Il:
      return {512, 512, 16, 32, 512, kE4m3, ScaleCode::kUe8m0, kInRow};
    case RowFormat::kNvfp4V41Il:
      return {512, 256, 32, 16, 512, kE2m1, ScaleCode::kE4m3, kInRow};
    case RowFormat::kFp8PerTensor:
      return {512, 512, 0, 0, 512, kE4m3, ScaleCode::kNone, kSplit};
    case RowFormat::kNvfp4Rope:
      return {512, 352, 32, 16, 448, kE2m1, ScaleCode::kE4m3, kSplit};
  }
  return {};
}

// Whether a format's codes depend on the pool's global scale (Store::SetGlobalScale).
TERRACE_HOST_DEVICE constexpr bool HasGlobalScale(RowFormat format) {
  const RowLayout layout = LayoutOf(format);
  return layout.scale == ScaleCode::kE4m3 ||
         (layout.code != ChannelCode::kNone && layout.scale == ScaleCode::kNone);
}

// Useful bytes of a page of `entries` rows, before any alignment.
TERRACE_HOST_DEVICE constexpr int64_t PageBytes(RowFormat format, int64_t entries) {
  return entries * LayoutOf(format).row_bytes();
}

#if !defined(__CUDACC__)
// The names of docs/formats.md: "flashmla_v4", "nvfp4", ...
absl::string_view RowFormatName(RowFormat format);

// Errors: InvalidArgument that lists the known names.
absl::StatusOr<RowFormat> ParseRowFormat(absl::string_view name);
#endif

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROW_FORMAT_H_
