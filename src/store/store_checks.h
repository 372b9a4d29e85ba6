// What the store's checks share.

#ifndef TERRACE_SRC_STORE_STORE_CHECKS_H_
#define TERRACE_SRC_STORE_STORE_CHECKS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace terrace::internal {

// Most elements between two rows or queries: times any number of rows it is still an int64.
inline constexpr int64_t kMaxPitch = int64_t{1} << 31;

// Most raw slots of one call: their rows alone are more than any device's memory.
inline constexpr int32_t kMaxSlots = 1 << 28;

// Status with parts joined into one line.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

template <typename T>
bool IsAligned(const T* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_STORE_STORE_CHECKS_H_
