#include "src/plan/plan_checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <utility>

#include "terrace/plan_format.h"

namespace terrace::internal {

uint64_t PlanChecksum(absl::Span<std::byte> bytes) {
  PlanHeader* const header = reinterpret_cast<PlanHeader*>(bytes.data());
  const uint64_t stored = std::exchange(header->checksum, 0);
  const uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size());
  header->checksum = stored;
  return checksum;
}

}  // namespace terrace::internal
