// StatusOfLaunch makes a status of what a kernel launch of the program returned.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_LAUNCH_STATUS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_LAUNCH_STATUS_H_

#include "absl/status/status.h"

namespace terrace::tools {

// `error` is a cudaError_t; it is cleared, so that no later call reports it again.
// Errors: FailedPrecondition where the device has no code for the kernel; Internal for the rest.
// Both name the launch and the error.
absl::Status StatusOfLaunch(int error, const char* launch);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_LAUNCH_STATUS_H_
