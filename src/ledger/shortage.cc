#include "src/ledger/shortage.h"

#include <cstring>
#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_format.h"

namespace terrace {
namespace {

constexpr char kPayloadUrl[] = "terrace/Shortage";

absl::Status WithShortage(absl::Status status, const Shortage& shortage) {
  status.SetPayload(kPayloadUrl, absl::Cord(absl::StrFormat("%d %d %d", shortage.pool.value(),
                                                            shortage.missing_blocks,
                                                            shortage.retry_later ? 1 : 0)));
  return status;
}

}  // namespace

std::optional<Shortage> ShortageOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return std::nullopt;
  Shortage shortage;
  int32_t pool = 0;
  int retry_later = 0;
  if (std::sscanf(std::string(*payload).c_str(), "%d %d %d", &pool, &shortage.missing_blocks,
                  &retry_later) != 3) {
    return std::nullopt;
  }
  shortage.pool = PoolIndex(pool);
  shortage.retry_later = retry_later != 0;
  return shortage;
}

namespace internal {

std::string PoolLabel(const Geometry& geometry, int pool) {
  switch (geometry.pools[pool].kind) {
    case PoolKind::kFull:
      return absl::StrFormat("pool %d (ratio %d)", pool, geometry.pools[pool].ratio);
    case PoolKind::kWindow:
      return absl::StrFormat("pool %d (window)", pool);
    case PoolKind::kOverlap:
      return absl::StrFormat("pool %d (overlap)", pool);
    case PoolKind::kState:
      return absl::StrFormat("pool %d (state of ratio %d)", pool, geometry.pools[pool].ratio);
  }
  return absl::StrFormat("pool %d", pool);
}

absl::Status RetryLater(const Geometry& geometry, const Shortfall& shortfall, int64_t needed,
                        const PoolUse& use) {
  const auto [pool, missing] = shortfall;
  return WithShortage(absl::ResourceExhaustedError(
                          absl::StrFormat("%s lacks %d of the %d blocks this step needs "
                                          "(%d free, %d cached and %d draining of %d); "
                                          "retry when sequences have finished",
                                          PoolLabel(geometry, pool), missing, needed, use.free,
                                          use.cached, use.draining, use.capacity)),
                      {.pool = PoolIndex(pool), .missing_blocks = missing, .retry_later = true});
}

absl::Status LargerThanPool(const Geometry& geometry, int pool, int64_t held) {
  const int32_t capacity = geometry.pools[pool].capacity_blocks;
  const int32_t missing = static_cast<int32_t>(held - capacity);
  return WithShortage(
      absl::OutOfRangeError(absl::StrFormat("larger than the pool: with this step its sequences "
                                            "would hold %d blocks of %s, which has "
                                            "%d; step fewer sequences or plan more memory",
                                            held, PoolLabel(geometry, pool), capacity)),
      {.pool = PoolIndex(pool), .missing_blocks = missing, .retry_later = false});
}

}  // namespace internal
}  // namespace terrace
