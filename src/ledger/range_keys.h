// RangeKeys keeps the key ranges of a sequence, with their bytes. It does not change; forks share it.
// Thread-safe: yes.

#ifndef TERRACE_SRC_LEDGER_RANGE_KEYS_H_
#define TERRACE_SRC_LEDGER_RANGE_KEYS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "terrace/chunk_digest.h"

namespace terrace::internal {

class RangeKeys {
 public:
  // Copies keys. Null if there are no ranges.
  static std::shared_ptr<const RangeKeys> Make(absl::Span<const KeyRange> ranges) {
    return ranges.empty() ? nullptr : std::make_shared<const RangeKeys>(ranges);
  }
  explicit RangeKeys(absl::Span<const KeyRange> ranges)
      : ranges_(ranges.begin(), ranges.end()), keys_(ranges.size()) {
    for (size_t i = 0; i < ranges.size(); ++i) {
      keys_[i] = std::string(ranges[i].key);
      ranges_[i].key = keys_[i];
    }
  }
  RangeKeys(const RangeKeys&) = delete;
  RangeKeys& operator=(const RangeKeys&) = delete;

  absl::Span<const KeyRange> ranges() const { return ranges_; }

 private:
  std::vector<KeyRange> ranges_;  // their keys lie in keys_
  std::vector<std::string> keys_;
};

// The ranges behind `keys`, which may be null.
inline absl::Span<const KeyRange> RangesOf(const std::shared_ptr<const RangeKeys>& keys) {
  return keys == nullptr ? absl::Span<const KeyRange>() : keys->ranges();
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_RANGE_KEYS_H_
