// Which of a model's layers a replay carries data of.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_LAYER_RANGE_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_LAYER_RANGE_H_

#include <string>

#include "absl/status/statusor.h"
#include "terrace/model.h"

namespace terrace::tools {

// The shortest run of layers that has one of each kind that the model has: a layer with a window
// alone, and one for each full pool. Of several, the first. DeepSeek-V4-Flash: layers 1 to 3.
LayerRange OneLayerOfEachKind(const ModelSpec& model);

// "3" (that layer alone), "1-3" (both included) or "all".
// Errors: InvalidArgument that says how many layers there are.
absl::StatusOr<LayerRange> ParseLayers(const std::string& text, const ModelSpec& model);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_LAYER_RANGE_H_
