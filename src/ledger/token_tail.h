// TokenTail keeps the ids of a sequence's tokens that are known and in no published chunk yet.
// Chunks leave it at the front, ids arrive at the back.

#ifndef TERRACE_SRC_LEDGER_TOKEN_TAIL_H_
#define TERRACE_SRC_LEDGER_TOKEN_TAIL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace terrace::internal {

class TokenTail {
 public:
  int64_t size() const { return static_cast<int64_t>(ids_.size() - head_); }

  // REQUIRES: begin + count <= size().
  absl::Span<const int32_t> Part(int64_t begin, int64_t count) const {
    return absl::MakeConstSpan(ids_).subspan(head_ + begin, count);
  }

  void Append(absl::Span<const int32_t> ids) { ids_.insert(ids_.end(), ids.begin(), ids.end()); }

  // Cost: amortized O(count): what is left moves to the front only when it is the smaller half.
  void DropFront(int64_t count) {
    head_ += static_cast<size_t>(count);
    if (2 * head_ < ids_.size()) return;
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }

  void Clear() {
    ids_ = {};
    head_ = 0;
  }

 private:
  std::vector<int32_t> ids_;
  size_t head_ = 0;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_TOKEN_TAIL_H_
