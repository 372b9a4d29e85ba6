// Marks are the chunk boundaries where a sequence leaves a checkpoint for good, because its caller said
// so. They do not change; forks share them.
// Thread-safe: yes.

#ifndef TERRACE_SRC_LEDGER_MARKS_H_
#define TERRACE_SRC_LEDGER_MARKS_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"

namespace terrace::internal {

class Marks {
 public:
  // Null if no mark is at a chunk's end or behind one.
  static std::shared_ptr<const Marks> Make(absl::Span<const int32_t> positions,
                                           int32_t chunk_tokens) {
    auto marks = std::make_shared<Marks>();
    for (const int32_t position : positions) {
      if (position >= chunk_tokens) marks->ends_.push_back(position / chunk_tokens * chunk_tokens);
    }
    if (marks->ends_.empty()) return nullptr;
    std::sort(marks->ends_.begin(), marks->ends_.end());
    return marks;
  }

  bool Contains(int32_t position) const {
    return std::binary_search(ends_.begin(), ends_.end(), position);
  }
  absl::Span<const int32_t> ends() const { return ends_; }  // ascending; some may be equal

 private:
  std::vector<int32_t> ends_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_MARKS_H_
