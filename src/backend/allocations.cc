#include "src/backend/allocations.h"

#include "absl/strings/str_cat.h"

namespace terrace::internal {

absl::StatusOr<void*> AllocateFrom(MemoryResource& resource, int64_t bytes, Stream stream) {
  void* const memory = resource.Allocate(bytes, kAllocationAlignment, stream);
  if (memory == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the memory resource has no ", bytes, " bytes"));
  }
  const uintptr_t misplaced = reinterpret_cast<uintptr_t>(memory) % kAllocationAlignment;
  if (misplaced == 0) return memory;
  resource.Deallocate(memory, bytes, stream);
  return absl::FailedPreconditionError(absl::StrCat("memory of the memory resource lies ",
                                                    misplaced, " bytes behind a multiple of ",
                                                    kAllocationAlignment));
}

}  // namespace terrace::internal
