// CapacityToJson: a capacity plan as JSON. docs/capacity.md says what each key means.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_

#include <vector>

#include "nlohmann/json.hpp"
#include "terrace/capacity.h"
#include "tools/terrace/commands/capacity_fits.h"

namespace terrace::tools {

nlohmann::ordered_json CapacityToJson(const CapacityPlan& plan, const std::vector<ContextFit>& fits,
                                      const std::vector<WorkerShare>& workers);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_JSON_H_
