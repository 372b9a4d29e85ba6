// CapacityToJson: a capacity plan as JSON. docs/capacity.md says what each key means.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_

#include "nlohmann/json.hpp"
#include "terrace/capacity.h"

namespace terrace::tools {

nlohmann::ordered_json CapacityToJson(const CapacityPlan& plan);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_
