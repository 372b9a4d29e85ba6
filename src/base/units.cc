#include "terrace/units.h"

#include <array>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace terrace {
namespace {

struct Unit {
  absl::string_view name;
  int64_t bytes;
};
constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"b", 1},
                                          {"kib", int64_t{1} << 10},
                                          {"mib", int64_t{1} << 20},
                                          {"gib", int64_t{1} << 30},
                                          {"tib", int64_t{1} << 40},
                                          {"kb", 1'000},
                                          {"mb", 1'000'000},
                                          {"gb", 1'000'000'000},
                                          {"tb", 1'000'000'000'000}}};

constexpr int64_t kMaxBytes = int64_t{1} << 62;
constexpr int kMaxDigits = 19;  // the largest decimal number of them, times a TiB, fits 128 bits

absl::Status BadSize(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no byte size: ", why, "; write for example 40GiB"));
}

}  // namespace

absl::StatusOr<int64_t> ParseBytes(absl::string_view text) {
  const absl::string_view trimmed = absl::StripAsciiWhitespace(text);
  unsigned __int128 digits = 0;   // the number without its point
  unsigned __int128 divisor = 1;  // what the point divides it by
  int num_digits = 0;
  bool fraction = false;
  size_t end = 0;
  for (; end < trimmed.size(); ++end) {
    const char c = trimmed[end];
    if (c == '.' && !fraction && num_digits > 0) {
      fraction = true;
      continue;
    }
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) break;
    if (++num_digits > kMaxDigits) return BadSize(text, "too many digits");
    digits = digits * 10 + static_cast<unsigned>(c - '0');
    if (fraction) divisor *= 10;
  }
  if (num_digits == 0 || trimmed[end - 1] == '.') return BadSize(text, "it needs a number");

  const std::string name =
      absl::AsciiStrToLower(absl::StripLeadingAsciiWhitespace(trimmed.substr(end)));
  for (const Unit& unit : kUnits) {
    if (unit.name != name) continue;
    const unsigned __int128 scaled = digits * static_cast<unsigned __int128>(unit.bytes);
    if (scaled % divisor != 0) return BadSize(text, "not a whole number of bytes");
    if (scaled / divisor > static_cast<unsigned __int128>(kMaxBytes)) {
      return BadSize(text, "larger than 2^62 bytes");
    }
    return static_cast<int64_t>(scaled / divisor);
  }
  return BadSize(text, "the unit is none of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB");
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes > -1024 && bytes < 1024) return absl::StrFormat("%d B", bytes);
  double value = static_cast<double>(bytes);
  const double magnitude = value < 0 ? -value : value;
  size_t unit = 0;
  double scale = 1;
  // 1023.5 and above would round to 1024, which the next unit says in three digits.
  while (unit + 1 < kNames.size() && magnitude / scale >= 1023.5) {
    scale *= 1024;
    ++unit;
  }
  value /= scale;
  const double shown = magnitude / scale;
  const int decimals = shown < 9.995 ? 2 : shown < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kNames[unit]);
}

}  // namespace terrace
