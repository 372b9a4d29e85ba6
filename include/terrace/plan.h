// Plan is one step as data: what the ledger decided and a store carries out. It owns its bytes,
// knows no address, and travels between processes as bytes(). Layout: plan_format.h.

#ifndef TERRACE_PLAN_H_
#define TERRACE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/geometry.h"
#include "terrace/ids.h"
#include "terrace/plan_format.h"

namespace terrace {

namespace internal {
class PlanBuilder;
}

using internal::PlanBuilder;

// A plan that was moved from has no bytes: its header is all zeros, its lists are empty, and no
// store begins it.
// Thread-safe: const calls are.
class Plan {
 public:
  // Copies and checks `bytes`: magic, version, checksum, fingerprint and every record against
  // `geometry` (sequences in range and distinct, positions and counts within the limits, row
  // offsets consistent, checkpoints inside their steps, patches and copies naming tables and blocks
  // that exist, nothing written twice). A plan that passes can drive a store to no place out of its
  // pools.
  // Errors: InvalidArgument that says which field of which record is wrong; FailedPrecondition for
  // another deployment's plan.
  // Cost: O(bytes), and O(n log n) for n copies or n patches that are not in order.
  static absl::StatusOr<Plan> Parse(absl::Span<const std::byte> bytes, const Geometry& geometry);

  Plan(Plan&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Plan& operator=(Plan&& other) noexcept {
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }
  Plan(const Plan&) = default;
  Plan& operator=(const Plan&) = default;

  absl::Span<const std::byte> bytes() const { return absl::MakeConstSpan(bytes_); }

  const PlanHeader& header() const {
    return bytes_.empty() ? kNoHeader : *reinterpret_cast<const PlanHeader*>(bytes_.data());
  }
  PlanNumber number() const { return PlanNumber(header().number); }
  bool is_snapshot() const { return header().kind == PlanKind::kSnapshot; }

  absl::Span<const SequenceStep> sequences() const;
  absl::Span<const CheckpointRecord> checkpoints() const;
  // Of them, the first ones are of positions that earlier steps reached.
  int32_t num_settled_checkpoints() const {
    return sequences().empty() ? header().num_checkpoints : sequences()[0].checkpoint_begin;
  }
  absl::Span<const RestoreRecord> restores() const;
  absl::Span<const BlockPatch> patches() const;
  absl::Span<const BlockCopy> copies() const;

 private:
  friend class internal::PlanBuilder;
  explicit Plan(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  // `count` records from byte `offset` on.
  template <typename Record>
  absl::Span<const Record> Records(int64_t offset, int32_t count) const {
    if (count == 0) return {};
    return {reinterpret_cast<const Record*>(bytes_.data() + offset), static_cast<size_t>(count)};
  }

  static constexpr PlanHeader kNoHeader = {};
  std::vector<std::byte> bytes_;
};

// Room for the plan of any step: all its sequences, checkpoints and restores, and the patches that
// its tokens need. A plan that announces shared blocks may be larger, and snapshots too: a store
// uploads their patches, and any copies, in pieces.
int64_t MaxStepPlanBytes(const Geometry& geometry);

}  // namespace terrace

#endif  // TERRACE_PLAN_H_
