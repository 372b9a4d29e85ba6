#include "tools/terrace/commands/encode_command.h"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "tools/terrace/commands/numbers.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/outcome.h"
#include "tools/terrace/commands/output_files.h"
#include "tools/terrace/commands/row_pages.h"
#include "tools/terrace/npy.h"

namespace terrace::tools {
namespace {

constexpr int64_t kMostPageRows = 65536;
constexpr int64_t kMostAlign = 1 << 20;
// Positive float32 numbers of full precision.
constexpr double kLeastScale = std::numeric_limits<float>::min();
constexpr double kMostScale = std::numeric_limits<float>::max();

constexpr char kEncodeExamples[] = R"(Examples:
  terrace encode --format flashmla_v4 kv.npy pages.npy
  terrace encode --format flashmla_v4 --page 64 --align 576 --rope-table rope.npy kv.npy pages.npy
  terrace encode --format nvfp4 --global-scale 0.0123 kv.npy pages.npy)";

constexpr char kDecodeExamples[] = R"(Examples:
  terrace decode --format flashmla_v4 --page 64 --align 576 pages.npy rows.npy
  terrace decode --format fp8_per_token --rope-table rope.npy pages.npy rotated.npy
  terrace decode --format indexer_fp8 --dim 128 pages.npy keys.npy)";

struct PageArguments {
  std::optional<RowFormat> format;
  PageOptions options;
  double global_scale = 1;
  int64_t dim = 0;
  std::string rope_table;
  std::string input;
  std::string output;
};

void AddPageOptions(CLI::App& command, PageArguments* arguments, const std::string& rope_help) {
  AddFormatOption(command, "--format", &arguments->format, "row format")->required();
  AddWholeOption(command, "--page", &arguments->options.page_rows, int64_t{1}, kMostPageRows,
                 "rows of a page, a power of two")
      ->type_name("P");
  AddWholeOption(command, "--align", &arguments->options.align, int64_t{1}, kMostAlign,
                 "pages are padded to a multiple of it")
      ->type_name("A");
  AddRealOption(command, "--global-scale", &arguments->global_scale, kLeastScale, kMostScale,
                "global scale of fp8_per_tensor and the nvfp4 formats; others have none")
      ->type_name("G");
  AddTextOption(command, "--rope-table", &arguments->rope_table, rope_help)->type_name("T.npy");
}

void AddFiles(CLI::App& command, PageArguments* arguments, const std::string& input_help,
              const std::string& output_help) {
  AddTextOption(command, "input", &arguments->input, input_help)->type_name("IN.npy")->required();
  AddTextOption(command, "output", &arguments->output, output_help)
      ->type_name("OUT.npy")
      ->required();
}

// Whether rows of `format` may be stored rotated, and whether unrotated (docs/formats.md).
bool MayRotateBeforeStore(RowFormat format) { return format != RowFormat::kFp8PerToken; }
bool MayRotateAfterLoad(RowFormat format) {
  return format == RowFormat::kBf16 || format == RowFormat::kFp8PerToken ||
         format == RowFormat::kNvfp4;
}

void CheckRope(const PageArguments& arguments, bool encodes) {
  const RowFormat format = *arguments.format;
  if (arguments.rope_table.empty() ||
      (encodes ? MayRotateBeforeStore(format) : MayRotateAfterLoad(format))) {
    return;
  }
  throw CLI::ValidationError(
      "--rope-table",
      absl::StrCat(RowFormatName(format), encodes ? " rows are stored unrotated and rotated after "
                                                    "load: give the table to decode"
                                                  : " rows are rotated before they are stored: a "
                                                    "second time would be wrong"));
}

// What only the parsed options together can tell. Throws CLI::ValidationError.
void CheckArguments(PageArguments& arguments, bool encodes) {
  arguments.options.format = *arguments.format;
  arguments.options.global_scale = static_cast<float>(arguments.global_scale);
  if (arguments.global_scale != 1 && !HasGlobalScale(*arguments.format)) {
    throw CLI::ValidationError(
        "--global-scale", absl::StrCat(RowFormatName(*arguments.format),
                                       " rows have none; only fp8_per_tensor and nvfp4 rows do"));
  }
  const int64_t rows = arguments.options.page_rows;
  if ((rows & (rows - 1)) != 0) {
    throw CLI::ValidationError("--page", absl::StrCat(rows, " is not a power of two"));
  }
  CheckRope(arguments, encodes);
  const int64_t channels = LayoutOf(*arguments.format).channels;
  if (arguments.dim != 0 && arguments.dim != channels) {
    throw CLI::ValidationError(
        "--dim", absl::StrCat(RowFormatName(*arguments.format), " rows have ", channels,
                              " channels; pass --dim ", channels, " or leave it out"));
  }
}

absl::StatusOr<NpyArray> ReadInputs(PageArguments& arguments) {
  if (!arguments.rope_table.empty()) {
    TERRACE_ASSIGN_OR_RETURN(arguments.options.rope_table, ReadNpy(arguments.rope_table));
  }
  return ReadNpy(arguments.input);
}

absl::Status Encode(PageArguments& arguments) {
  TERRACE_ASSIGN_OR_RETURN(const NpyArray rows, ReadInputs(arguments));
  TERRACE_ASSIGN_OR_RETURN(const EncodedPages encoded, EncodeRowPages(rows, arguments.options));
  if (encoded.bad_values > 0) {
    std::cerr << "terrace encode: note: " << encoded.bad_values
              << " NaN or infinite values were replaced by 0 or the largest finite bf16\n";
  }
  return WriteNpy(arguments.output, encoded.pages);
}

absl::Status Decode(PageArguments& arguments) {
  TERRACE_ASSIGN_OR_RETURN(const NpyArray pages, ReadInputs(arguments));
  TERRACE_ASSIGN_OR_RETURN(const NpyArray rows, DecodeRowPages(pages, arguments.options));
  return WriteNpy(arguments.output, rows);
}

void SetCallback(CLI::App& command, const std::shared_ptr<PageArguments>& arguments, bool encodes,
                 int* exit_code) {
  command.callback([&command, arguments, encodes, exit_code] {
    CheckArguments(*arguments, encodes);
    const absl::Status files =
        CheckOutputs({{"output", arguments->output}},
                     {{"input", arguments->input}, {"--rope-table", arguments->rope_table}});
    *exit_code = ExitCode(command.get_name(), files);
    if (!files.ok()) return;
    const absl::Status status = encodes ? Encode(*arguments) : Decode(*arguments);
    // Arrays that do not fit are a failure, not bad usage.
    *exit_code = std::min(ExitCode(command.get_name(), status), 1);
  });
}

}  // namespace

void AddEncodeCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand("encode", "Turn rows of bf16 into the pages of a format");
  command.footer(kEncodeExamples);
  const auto arguments = std::make_shared<PageArguments>();
  AddPageOptions(command, arguments.get(),
                 "float32 [n, 64], cosines then sines, one row per entry: rotate before encoding");
  AddFiles(command, arguments.get(), "bf16 bits, uint16 [n, d]",
           "pages, uint8 [ceil(n / P), page bytes]");
  SetCallback(command, arguments, /*encodes=*/true, exit_code);
}

void AddDecodeCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand("decode", "Turn the pages of a format into rows of bf16");
  command.footer(kDecodeExamples);
  const auto arguments = std::make_shared<PageArguments>();
  AddPageOptions(command, arguments.get(),
                 "float32 [n, 64], cosines then sines, one row per entry: rotate after decoding");
  AddWholeOption(command, "--dim", &arguments->dim, int64_t{0}, kMostPageRows,
                 "channels of a row; 0 = those of the format")
      ->type_name("D");
  AddFiles(command, arguments.get(), "pages, uint8 [m, page bytes]",
           "bf16 bits, uint16 [m * P, d]: all rows of every page");
  SetCallback(command, arguments, /*encodes=*/false, exit_code);
}

}  // namespace terrace::tools
