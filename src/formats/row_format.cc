#include "terrace/formats/row_format.h"

#include "absl/strings/str_cat.h"

namespace terrace {

absl::string_view RowFormatName(RowFormat format) {
  switch (format) {
    case RowFormat::kBf16:
      return "bf16";
    case RowFormat::kFp8PerToken:
      return "fp8_per_token";
    case RowFormat::kNvfp4:
      return "nvfp4";
    case RowFormat::kFlashMlaV4:
      return "flashmla_v4";
    case RowFormat::kMxfp8V41:
      return "mxfp8_v41";
    case RowFormat::kIndexerFp8:
      return "indexer_fp8";
    case RowFormat::kIndexerMxfp4:
      return "indexer_mxfp4";
    case RowFormat::kMxfp8V41Il:
      return "mxfp8_v41_il";
    case RowFormat::kNvfp4V41Il:
      return "nvfp4_v41_il";
    case RowFormat::kFp8PerTensor:
      return "fp8_per_tensor";
    case RowFormat::kNvfp4Rope:
      return "nvfp4_rope";
  }
  return "unknown";
}

absl::StatusOr<RowFormat> ParseRowFormat(absl::string_view name) {
  std::string known;
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    if (name == RowFormatName(format)) return format;
    absl::StrAppend(&known, i == 0 ? "" : ", ", RowFormatName(format));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown row format \"", name, "\"; known formats: ", known));
}

}  // namespace terrace
