// Byte sizes as people write them: "40GiB" to 42949672960 and back.

#ifndef TERRACE_UNITS_H_
#define TERRACE_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace terrace {

inline constexpr int64_t kKiB = int64_t{1} << 10;
inline constexpr int64_t kMiB = int64_t{1} << 20;
inline constexpr int64_t kGiB = int64_t{1} << 30;

// Reads "4096", "4096B", "1.5GiB", "40GB": binary (KiB, MiB, GiB, TiB) and decimal (kB, MB, GB, TB)
// units, case-insensitive, a space allowed before the unit.
// Errors: InvalidArgument if it is no such text, is negative, is not a whole number of bytes or
// exceeds 2^62.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);

// Three significant digits in the largest binary unit that fits: "40.0 GiB", "962 KiB", "17 B".
std::string FormatBytes(int64_t bytes);

constexpr int64_t CeilDiv(int64_t value, int64_t divisor) {
  return (value + divisor - 1) / divisor;
}
constexpr int64_t RoundUp(int64_t value, int64_t multiple) {
  return CeilDiv(value, multiple) * multiple;
}

}  // namespace terrace

#endif  // TERRACE_UNITS_H_
