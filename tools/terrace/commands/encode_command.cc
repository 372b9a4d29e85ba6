#include "tools/terrace/commands/encode_command.h"

#include <cmath>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "tools/terrace/commands/options.h"
#include "tools/terrace/commands/row_pages.h"
#include "tools/terrace/npy.h"

namespace terrace::tools {
namespace {

constexpr int64_t kMostPageRows = 65536;
constexpr int64_t kMostAlign = 1 << 20;

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
  std::optional<int64_t> dim;
  std::string rope_table;
  std::string input;
  std::string output;
};

void AddPageOptions(CLI::App& command, PageArguments* arguments, const std::string& rope_help) {
  AddFormatOption(command, "--format", &arguments->format, "row format")->required();
  command.add_option("--page", arguments->options.page_rows, "rows of a page, a power of two")
      ->type_name("P")
      ->check(CLI::Range(int64_t{1}, kMostPageRows))
      ->check(CLI::Validator(
          [](const std::string& text) {
            const int64_t rows = std::stoll(text);
            return (rows & (rows - 1)) == 0 ? std::string() : text + " is not a power of two";
          },
          "POWER OF TWO"))
      ->capture_default_str();
  command.add_option("--align", arguments->options.align, "pages are padded to a multiple of it")
      ->type_name("A")
      ->check(CLI::Range(int64_t{1}, kMostAlign))
      ->capture_default_str();
  command
      .add_option("--global-scale", arguments->options.global_scale,
                  "global scale of fp8_per_tensor and the nvfp4 formats; others have none")
      ->type_name("G")
      ->capture_default_str();
  command.add_option("--rope-table", arguments->rope_table, rope_help)->type_name("T.npy");
}

void AddFiles(CLI::App& command, PageArguments* arguments, const std::string& input_help,
              const std::string& output_help) {
  command.add_option("input", arguments->input, input_help)->type_name("IN.npy")->required();
  command.add_option("output", arguments->output, output_help)->type_name("OUT.npy")->required();
}

// What only the parsed options together can tell. Throws CLI::ValidationError.
void CheckArguments(PageArguments& arguments) {
  arguments.options.format = *arguments.format;
  const float global_scale = arguments.options.global_scale;
  if (!std::isfinite(global_scale) || global_scale <= 0) {
    throw CLI::ValidationError("--global-scale", "must be finite and above 0");
  }
  const int64_t channels = LayoutOf(*arguments.format).channels;
  if (arguments.dim.has_value() && *arguments.dim != channels) {
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

void SetCallback(CLI::App& command, const std::shared_ptr<PageArguments>& arguments,
                 absl::Status (*run)(PageArguments&), int* exit_code) {
  command.callback([&command, arguments, run, exit_code] {
    CheckArguments(*arguments);
    const absl::Status status = run(*arguments);
    *exit_code = status.ok() ? 0 : 1;
    if (!status.ok()) {
      std::cerr << "terrace " << command.get_name() << ": " << std::string(status.message())
                << std::endl;
    }
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
  SetCallback(command, arguments, &Encode, exit_code);
}

void AddDecodeCommand(CLI::App& app, int* exit_code) {
  CLI::App& command = *app.add_subcommand("decode", "Turn the pages of a format into rows of bf16");
  command.footer(kDecodeExamples);
  const auto arguments = std::make_shared<PageArguments>();
  AddPageOptions(command, arguments.get(),
                 "float32 [n, 64], cosines then sines, one row per entry: rotate after decoding");
  command.add_option("--dim", arguments->dim, "channels of a row; those of the format by default")
      ->type_name("D");
  AddFiles(command, arguments.get(), "pages, uint8 [m, page bytes]",
           "bf16 bits, uint16 [m * P, d]: all rows of every page");
  SetCallback(command, arguments, &Decode, exit_code);
}

}  // namespace terrace::tools
