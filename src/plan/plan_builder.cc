#include "src/plan/plan_builder.h"

#include <limits>
#include <utility>

#include "src/base/check.h"
#include "src/plan/plan_checksum.h"

namespace terrace::internal {

PlanBuilder::PlanBuilder(const Geometry& geometry, PlanKind kind, const PlanCounts& counts)
    : geometry_(geometry) {
  const PlanOffsets at = OffsetsOf(counts);
  TERRACE_CHECK_LE(at.total_bytes, std::numeric_limits<int32_t>::max());
  bytes_.resize(static_cast<size_t>(at.total_bytes));  // zeroed: reserved fields and unused pools
  std::byte* const base = bytes_.data();

  header_ = reinterpret_cast<PlanHeader*>(base);
  header_->magic = kPlanMagic;
  header_->version = kPlanVersion;
  header_->kind = kind;
  header_->num_sequences = static_cast<int32_t>(counts.sequences);
  header_->num_checkpoints = static_cast<int32_t>(counts.checkpoints);
  header_->num_restores = static_cast<int32_t>(counts.restores);
  header_->num_patches = static_cast<int32_t>(counts.patches);
  header_->num_copies = static_cast<int32_t>(counts.copies);
  header_->checkpoints_offset = static_cast<int32_t>(at.checkpoints);
  header_->restores_offset = static_cast<int32_t>(at.restores);
  header_->patches_offset = static_cast<int32_t>(at.patches);
  header_->copies_offset = static_cast<int32_t>(at.copies);
  header_->total_bytes = static_cast<int32_t>(at.total_bytes);
  next_sequence_ = reinterpret_cast<SequenceStep*>(base + at.sequences);
  first_checkpoint_ = reinterpret_cast<CheckpointRecord*>(base + header_->checkpoints_offset);
  next_checkpoint_ = first_checkpoint_;
  next_restore_ = reinterpret_cast<RestoreRecord*>(base + header_->restores_offset);
  next_patch_ = reinterpret_cast<BlockPatch*>(base + header_->patches_offset);
  next_copy_ = reinterpret_cast<BlockCopy*>(base + header_->copies_offset);
}

Plan PlanBuilder::Build(uint64_t epoch, PlanNumber number, uint32_t generation) && {
  const std::byte* const base = bytes_.data();
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_sequence_) - base,
                   header_->checkpoints_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_checkpoint_) - base, header_->restores_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_restore_) - base, header_->patches_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_patch_) - base, header_->copies_offset);
  TERRACE_CHECK_EQ(reinterpret_cast<std::byte*>(next_copy_) - base, header_->total_bytes);
  header_->fingerprint = Fingerprint(geometry_);
  header_->epoch = epoch;
  header_->number = number.value();
  header_->generation = generation;
  header_->checksum = PlanChecksum(absl::MakeSpan(bytes_));
  return Plan(std::move(bytes_));
}

}  // namespace terrace::internal
