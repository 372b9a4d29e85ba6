// Allocations: the memory that a backend has handed out and not got back, so that every byte goes
// back to where it came from.

#ifndef TERRACE_SRC_BACKEND_ALLOCATIONS_H_
#define TERRACE_SRC_BACKEND_ALLOCATIONS_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "terrace/backend.h"

namespace terrace::internal {

inline constexpr int64_t kAllocationAlignment = 256;

// Memory of `resource`, not zero-filled. Errors: ResourceExhausted where it has none;
// FailedPrecondition where what it gives is not aligned, and goes back at once.
absl::StatusOr<void*> AllocateFrom(MemoryResource& resource, int64_t bytes, Stream stream);

// Thread-safe: no.
class Allocations {
 public:
  void Add(void* memory, int64_t bytes) { bytes_[memory] = bytes; }

  // The size of `memory`, which is forgotten; -1 for null and what was never added.
  int64_t Remove(void* memory) {
    const auto found = bytes_.find(memory);
    if (found == bytes_.end()) return -1;
    const int64_t bytes = found->second;
    bytes_.erase(found);
    return bytes;
  }

  // Calls release(memory, bytes) for all that is left.
  template <typename Release>
  void RemoveAll(const Release& release) {
    for (const auto& [memory, bytes] : bytes_) release(memory, bytes);
    bytes_.clear();
  }

 private:
  absl::flat_hash_map<void*, int64_t> bytes_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_ALLOCATIONS_H_
