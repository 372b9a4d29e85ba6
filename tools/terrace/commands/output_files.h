// Files that a command will write, looked at before it works for long.

#ifndef TERRACE_TOOLS_TERRACE_COMMANDS_OUTPUT_FILES_H_
#define TERRACE_TOOLS_TERRACE_COMMANDS_OUTPUT_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace terrace::tools {

// A file and the option that names it. "" is none, and "-" is standard output or input.
struct NamedFile {
  std::string option;
  std::string path;
};

// Changes and creates nothing.
// Errors: InvalidArgument for an output that is also another output or an input; Unavailable for
// one that cannot be written: no such folder, a folder itself, no right to. They name the option.
absl::Status CheckOutputs(absl::Span<const NamedFile> outputs, absl::Span<const NamedFile> inputs);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_COMMANDS_OUTPUT_FILES_H_
