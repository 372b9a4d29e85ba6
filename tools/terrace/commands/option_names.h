// Words of an error as the user of the program knows them: options, not fields of the library.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_OPTION_NAMES_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_OPTION_NAMES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace terrace::tools {

// `text` with every whole word that is a field of Limits or CapacityRequest replaced by its option:
// "max_sequences is 0" becomes "--sequences is 0".
std::string WithOptionNames(absl::string_view text);

// The same of a status, which keeps its code. Memory that is too small is told as --memory's.
absl::Status NameOptions(const absl::Status& status);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_OPTION_NAMES_H_
