// Models as JSON text, in either of two forms (docs/capacity.md):
//
//   layered  {"ratios": [0, 4, 128], ...}: the fields of LayeredModelOptions
//   full     {"pools": [...], "layers": [...], ...}: the fields of ModelSpec
//
// Keys that are left out keep the defaults of those structs; unknown keys are errors.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_MODEL_JSON_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_MODEL_JSON_H_

#include <string>
#include <variant>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "terrace/model.h"

namespace terrace::tools {

using ModelFile = std::variant<LayeredModelOptions, ModelSpec>;

// A ModelSpec that comes back is valid; layered options are checked by MakeModel.
// Errors: InvalidArgument with the place in the text ("pools[1].ratio ...").
absl::StatusOr<ModelFile> ParseModelJson(const std::string& text);

// The full form. ParseModelJson reads an equal model back.
nlohmann::ordered_json ModelToJson(const ModelSpec& model);

// "pooled", "strided"; "block-major", "layer-major".
absl::string_view EntryRuleName(EntryRule rule);
absl::string_view PoolLayoutName(PoolLayout layout);
absl::StatusOr<PoolLayout> ParsePoolLayout(absl::string_view name);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_MODEL_JSON_H_
