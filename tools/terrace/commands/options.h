// Options that several commands share, read from the words people write.
// Errors: CLI::ValidationError that names the option, so that the program exits with 2.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_OPTIONS_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"

namespace terrace::tools {

// A name that is not empty, of a file for example.
CLI::Option* AddTextOption(CLI::App& command, const std::string& name, std::string* text,
                           const std::string& help);

// A byte size such as 40GiB.
CLI::Option* AddBytesOption(CLI::App& command, const std::string& name, int64_t* bytes,
                            const std::string& help);

// A row format by its name, such as flashmla_v4.
CLI::Option* AddFormatOption(CLI::App& command, const std::string& name,
                             std::optional<RowFormat>* format, const std::string& help);

// --model, and what changes a named or layered model.
struct ModelArguments {
  std::string model = "deepseek-v4-flash";
  std::optional<RowFormat> latent_format;
  std::optional<RowFormat> indexer_format;
  std::optional<PoolLayout> layout;
  std::optional<int32_t> swa_block_tokens;
  bool no_state = false;
};
void AddModelOptions(CLI::App& command, ModelArguments* arguments);

// The model by name, or of a JSON file (docs/capacity.md).
// Errors: NotFound where there is neither; InvalidArgument for a bad file or a change that does not
// apply.
absl::StatusOr<ModelSpec> LoadModel(const ModelArguments& arguments);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_OPTIONS_H_
