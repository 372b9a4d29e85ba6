#include "src/plan/block_copies.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_format.h"

namespace terrace::internal {
namespace {

// A block of any pool, for sorting.
uint64_t KeyOf(int32_t pool, int32_t block) {
  return static_cast<uint64_t>(pool) << 32 | static_cast<uint32_t>(block);
}

absl::Status Wrong(size_t copy, const char* field, int64_t value, int32_t end) {
  return absl::InvalidArgumentError(
      absl::StrFormat("copy %d: %s is %d, not in 0..%d", copy, field, value, end - 1));
}

absl::Status UsedTwice(uint64_t key, const char* how) {
  return absl::InvalidArgumentError(absl::StrFormat("copies: block %d of pool %d is %s",
                                                    static_cast<uint32_t>(key), key >> 32, how));
}

}  // namespace

absl::Status ValidateCopies(absl::Span<const BlockCopy> copies, const Geometry& geometry) {
  std::vector<uint64_t> written;
  written.reserve(copies.size());
  for (size_t i = 0; i < copies.size(); ++i) {
    const BlockCopy& copy = copies[i];
    if (copy.pool < 0 || copy.pool >= geometry.num_pools) {
      return Wrong(i, "pool", copy.pool, geometry.num_pools);
    }
    const int32_t capacity = geometry.pools[copy.pool].capacity_blocks;
    if (copy.source < 0 || copy.source >= capacity) {
      return Wrong(i, "source", copy.source, capacity);
    }
    if (copy.destination < 0 || copy.destination >= capacity) {
      return Wrong(i, "destination", copy.destination, capacity);
    }
    if (copy.reserved != 0) return Wrong(i, "reserved", copy.reserved, 1);
    written.push_back(KeyOf(copy.pool, copy.destination));
  }
  std::sort(written.begin(), written.end());
  const auto twice = std::adjacent_find(written.begin(), written.end());
  if (twice != written.end()) return UsedTwice(*twice, "the destination of two copies");
  for (const BlockCopy& copy : copies) {
    const uint64_t source = KeyOf(copy.pool, copy.source);
    if (std::binary_search(written.begin(), written.end(), source)) {
      return UsedTwice(source, "both a source and a destination");
    }
  }
  return absl::OkStatus();
}

}  // namespace terrace::internal
