#include "src/backend/byte_checks.h"

#include "absl/strings/str_cat.h"

namespace terrace::internal {

absl::Status CheckAllocation(int64_t bytes) {
  if (bytes >= 0 && bytes <= kMostBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("bytes is ", bytes, ", not in 0..", kMostBytes));
}

absl::Status CheckTransfer(const void* to, const void* from, int64_t bytes) {
  if (absl::Status status = CheckAllocation(bytes); !status.ok()) return status;
  if (bytes == 0 || (to != nullptr && from != nullptr)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(to == nullptr ? "to" : "from", " is null, and bytes is ", bytes, ", not 0"));
}

}  // namespace terrace::internal
