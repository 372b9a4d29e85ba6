#include "terrace/plan_builder.h"

#include <limits>
#include <utility>

#include "src/plan_checksum.h"
#include "terrace/check.h"

namespace terrace {

PlanBuilder::PlanBuilder(const Geometry& geometry, PlanKind kind, const PlanCounts& counts)
    : geometry_(geometry) {
  const int64_t total = PlanBytes(counts.lanes, counts.patches, counts.copies);
  TERRACE_CHECK_LE(total, std::numeric_limits<int32_t>::max());
  bytes_.resize(static_cast<size_t>(total));  // zeroed: reserved fields and unused pools
  std::byte* const base = bytes_.data();

  header_ = reinterpret_cast<PlanHeader*>(base);
  header_->magic = kPlanMagic;
  header_->version = kPlanVersion;
  header_->kind = kind;
  header_->num_lanes = counts.lanes;
  header_->num_patches = counts.patches;
  header_->num_copies = counts.copies;
  header_->patches_offset = static_cast<int32_t>(PlanBytes(counts.lanes, 0, 0));
  header_->copies_offset = static_cast<int32_t>(PlanBytes(counts.lanes, counts.patches, 0));
  header_->total_bytes = static_cast<int32_t>(total);
  next_lane_ = reinterpret_cast<LaneRecord*>(base + sizeof(PlanHeader));
  next_patch_ = reinterpret_cast<BlockPatch*>(base + header_->patches_offset);
  next_copy_ = reinterpret_cast<BlockCopy*>(base + header_->copies_offset);
}

Plan PlanBuilder::Build(uint64_t epoch, PlanNumber number) && {
  const std::byte* const base = bytes_.data();
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_lane_) - base, header_->patches_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_patch_) - base, header_->copies_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_copy_) - base, header_->total_bytes);
  header_->fingerprint = Fingerprint(geometry_);
  header_->epoch = epoch;
  header_->number = number.value();
  header_->checksum = PlanChecksum(absl::MakeSpan(bytes_));
  return Plan(std::move(bytes_));
}

}  // namespace terrace
