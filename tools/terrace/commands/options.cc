#include "tools/terrace/commands/options.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "terrace/units.h"
#include "tools/terrace/commands/model_json.h"
#include "tools/terrace/commands/numbers.h"

namespace terrace::tools {
namespace {

// The value of `parsed`, or an error of the option.
template <typename T>
T ValueOrThrow(const std::string& option, const absl::StatusOr<T>& parsed) {
  if (!parsed.ok()) throw CLI::ValidationError(option, std::string(parsed.status().message()));
  return *parsed;
}

constexpr int32_t kMostBlockTokens = 65536;

// A row format whose rows have `channels` channels; `rows` says what they are.
void AddPlaneFormat(CLI::App& command, const std::string& name, std::optional<RowFormat>* format,
                    int32_t channels, const std::string& rows, const std::string& help) {
  command
      .add_option_function<std::string>(
          name,
          [name, format, channels, rows](const std::string& text) {
            const RowFormat parsed = ValueOrThrow(name, ParseRowFormat(text));
            if (LayoutOf(parsed).channels != channels) {
              throw CLI::ValidationError(
                  name, absl::StrCat(text, " has rows of ", LayoutOf(parsed).channels,
                                     " channels; ", rows, " have ", channels));
            }
            *format = parsed;
          },
          help)
      ->type_name("FORMAT");
}

void AddWindowBlock(CLI::App& command, std::optional<int32_t>* tokens) {
  command
      .add_option_function<std::string>(
          "--swa-block",
          [tokens](const std::string& text) {
            int32_t number = 0;
            if (!ReadWhole(text, &number) || number < 1 || number > kMostBlockTokens ||
                (number & (number - 1)) != 0) {
              throw CLI::ValidationError(
                  "--swa-block", absl::StrCat("\"", text, "\" is not a power of two from 1 to ",
                                              kMostBlockTokens));
            }
            *tokens = number;
          },
          "tokens in a block of the window pool, a power of two")
      ->type_name("TOKENS");
}

bool ChangesModel(const ModelArguments& arguments) {
  return arguments.latent_format || arguments.indexer_format || arguments.layout ||
         arguments.swa_block_tokens || arguments.no_state;
}

absl::StatusOr<ModelSpec> MakeChanged(LayeredModelOptions options,
                                      const ModelArguments& arguments) {
  options.latent_format = arguments.latent_format.value_or(options.latent_format);
  options.indexer_format = arguments.indexer_format.value_or(options.indexer_format);
  options.layout = arguments.layout.value_or(options.layout);
  options.swa_block_tokens = arguments.swa_block_tokens.value_or(options.swa_block_tokens);
  if (arguments.no_state) options.state = false;
  return MakeModel(options);
}

absl::StatusOr<ModelSpec> LoadFile(const ModelArguments& arguments) {
  std::ifstream file(arguments.model, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::InvalidArgumentError(absl::StrCat(arguments.model, " cannot be read or is empty"));
  }
  const absl::StatusOr<ModelFile> parsed = ParseModelJson(text.str());
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.model, ": ", parsed.status().message()));
  }
  if (const auto* options = std::get_if<LayeredModelOptions>(&*parsed)) {
    return MakeChanged(*options, arguments);
  }
  if (ChangesModel(arguments)) {
    return absl::InvalidArgumentError(
        absl::StrCat(arguments.model,
                     " lists its pools: change formats, layout, blocks and state there, "
                     "not on the command line"));
  }
  return std::get<ModelSpec>(*parsed);
}

}  // namespace

CLI::Option* AddTextOption(CLI::App& command, const std::string& name, std::string* text,
                           const std::string& help) {
  return command.add_option_function<std::string>(
      name,
      [name, text](const std::string& given) {
        if (given.empty()) throw CLI::ValidationError(name, "the name is empty");
        *text = given;
      },
      help);
}

CLI::Option* AddBytesOption(CLI::App& command, const std::string& name, int64_t* bytes,
                            const std::string& help) {
  return command
      .add_option_function<std::string>(
          name,
          [name, bytes](const std::string& text) { *bytes = ValueOrThrow(name, ParseBytes(text)); },
          help)
      ->type_name("BYTES");
}

CLI::Option* AddFormatOption(CLI::App& command, const std::string& name,
                             std::optional<RowFormat>* format, const std::string& help) {
  return command
      .add_option_function<std::string>(
          name,
          [name, format](const std::string& text) {
            *format = ValueOrThrow(name, ParseRowFormat(text));
          },
          help)
      ->type_name("FORMAT");
}

void AddModelOptions(CLI::App& command, ModelArguments* arguments) {
  AddTextOption(command, "--model", &arguments->model,
                "deepseek-v4-flash, deepseek-v4-pro or a JSON file (docs/capacity.md)")
      ->type_name("NAME|FILE")
      ->default_str(arguments->model);
  AddPlaneFormat(command, "--latent-format", &arguments->latent_format, kLatentChannels, "latents",
                 "row format of the latents, e.g. flashmla_v4 or mxfp8_v41");
  AddPlaneFormat(command, "--indexer-format", &arguments->indexer_format, kIndexerChannels,
                 "indexer keys", "row format of the indexer keys: indexer_fp8 or indexer_mxfp4");
  command
      .add_option_function<std::string>(
          "--layout",
          [arguments](const std::string& text) {
            arguments->layout = ValueOrThrow("--layout", ParsePoolLayout(text));
          },
          "block-major (a block is one extent) or layer-major (a layer is one tensor)")
      ->type_name("LAYOUT");
  AddWindowBlock(command, &arguments->swa_block_tokens);
  command.add_flag("--no-state", arguments->no_state,
                   "sequences keep no compressor state, for engines that compress themselves; "
                   "named models keep it otherwise");
}

absl::StatusOr<ModelSpec> LoadModel(const ModelArguments& arguments) {
  const absl::StatusOr<LayeredModelOptions> named = ModelOptionsByName(arguments.model);
  if (named.ok()) return MakeChanged(*named, arguments);
  std::error_code error;
  if (!std::filesystem::exists(arguments.model, error)) {
    return absl::NotFoundError(
        absl::StrCat(named.status().message(), ", and no file has that name"));
  }
  return LoadFile(arguments);
}

}  // namespace terrace::tools
