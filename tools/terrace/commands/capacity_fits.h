// How many sequences fit, and what moves that number: the end of what `terrace capacity` says.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_FITS_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_FITS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "terrace/capacity.h"

namespace terrace::tools {

// A worker of a pipeline, and what its store takes.
struct WorkerShare {
  LayerRange layers = {};
  int64_t bytes = 0;
};

// Of kQuotedContexts, and of the longest context where the request names another one.
absl::StatusOr<std::vector<ContextFit>> FitContexts(const CapacityRequest& request);

// `text` is ranges of layers between commas, each as ParseLayers takes it.
absl::StatusOr<std::vector<WorkerShare>> ShareLayers(const CapacityPlan& plan,
                                                     const std::string& text);

// For people; options stand where the library has fields. 0 columns = any width.
std::string FitTable(const std::vector<ContextFit>& fits, int columns);
std::string ChoiceTable(const std::vector<ContextFit>& fits, int columns);
std::string WorkerTable(const CapacityPlan& plan, const std::vector<WorkerShare>& workers,
                        int columns);

// The option with its value that `setting` stands for, such as "--prefill-sequences 1".
std::string SettingOption(CapacitySetting setting);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_CAPACITY_FITS_H_
