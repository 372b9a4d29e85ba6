#include "src/ledger/shortage.h"

#include <array>
#include <optional>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace terrace {
namespace {

constexpr char kPayloadUrl[] = "terrace/Shortage";

// Counts of blocks that a payload carries, in its order; then come pool, retry_later and retire.
template <typename S>
auto CountsOf(S& shortage) {
  return std::array{
      &shortage.missing_blocks,   &shortage.needed_blocks,    &shortage.free_blocks,
      &shortage.evictable_blocks, &shortage.returning_blocks, &shortage.preemptible_blocks,
      &shortage.held_blocks,      &shortage.reserved_blocks,  &shortage.retire_blocks};
}

absl::Status WithShortage(absl::Status status, const Shortage& shortage) {
  std::vector<std::string> words;
  for (const int32_t* const count : CountsOf(shortage)) words.push_back(absl::StrCat(*count));
  words.push_back(absl::StrCat(shortage.pool.value()));
  words.push_back(absl::StrCat(shortage.retry_later ? 1 : 0));
  words.push_back(absl::StrCat(shortage.retire.value()));
  status.SetPayload(kPayloadUrl, absl::Cord(absl::StrJoin(words, " ")));
  return status;
}

std::string Reserved(const Shortage& shortage) {
  if (shortage.reserved_blocks == 0) return "";
  return absl::StrFormat(", %d reserved for others", shortage.reserved_blocks);
}

// What to do about it.
std::string Advice(const Shortage& shortage) {
  if (shortage.retire.value() > 0) {
    return absl::StrFormat("Retire(%d) gives %d and is enough", shortage.retire.value(),
                           shortage.retire_blocks);
  }
  return "retry when sequences have finished, or preempt one";
}

}  // namespace

std::optional<Shortage> ShortageOf(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return std::nullopt;
  Shortage shortage;
  const auto counts = CountsOf(shortage);
  const std::string text(*payload);
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ');
  if (words.size() != counts.size() + 3) return std::nullopt;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (!absl::SimpleAtoi(words[i], counts[i])) return std::nullopt;
  }
  int32_t pool = 0;
  uint64_t plan = 0;
  if (!absl::SimpleAtoi(words[counts.size()], &pool)) return std::nullopt;
  if (!absl::SimpleAtoi(words.back(), &plan)) return std::nullopt;
  shortage.pool = PoolIndex(pool);
  shortage.retry_later = words[counts.size() + 1] == "1";
  shortage.retire = PlanNumber(plan);
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

absl::Status RetryLater(const Geometry& geometry, Shortage shortage, absl::string_view what) {
  shortage.retry_later = true;
  return WithShortage(
      absl::ResourceExhaustedError(absl::StrFormat(
          "%s lacks %d of the %d blocks %s needs (%d free, %d evictable now, %d returning as plans "
          "retire, %d of others and %d of its own sequences; %d in all%s): %s",
          PoolLabel(geometry, shortage.pool.value()), shortage.missing_blocks,
          shortage.needed_blocks, what, shortage.free_blocks, shortage.evictable_blocks,
          shortage.returning_blocks, shortage.preemptible_blocks, shortage.held_blocks,
          geometry.pools[shortage.pool.value()].capacity_blocks, Reserved(shortage),
          Advice(shortage))),
      shortage);
}

absl::Status LargerThanPool(const Geometry& geometry, Shortage shortage, absl::string_view what,
                            int64_t held) {
  const int32_t capacity = geometry.pools[shortage.pool.value()].capacity_blocks;
  shortage.retry_later = false;
  shortage.missing_blocks = static_cast<int32_t>(held - capacity);
  shortage.retire = PlanNumber(0);
  shortage.retire_blocks = 0;
  return WithShortage(absl::OutOfRangeError(absl::StrFormat(
                          "larger than the pool: %s would hold %d blocks of %s, which has %d; step "
                          "fewer sequences or plan more memory",
                          what, held, PoolLabel(geometry, shortage.pool.value()), capacity)),
                      shortage);
}

}  // namespace internal
}  // namespace terrace
