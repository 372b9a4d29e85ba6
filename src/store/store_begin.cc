// Begin and CopyBlocks: what changes tables and whole blocks.

#include <algorithm>
#include <cstring>

#include "src/base/status_macros.h"
#include "src/ops/begin_params.h"
#include "src/ops/copy_params.h"
#include "src/plan/block_copies.h"
#include "src/plan/step_expand.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"

namespace terrace::internal {

absl::Status StoreImpl::ResetTables(Stream stream) {
  constexpr int64_t kPiece = 1 << 16;
  const std::vector<int32_t> none(std::min(kPiece, block_tables_entries_), kNoSlot);
  for (int64_t at = 0; at < block_tables_entries_; at += kPiece) {
    const int64_t entries = std::min(kPiece, block_tables_entries_ - at);
    TERRACE_RETURN_IF_ERROR(On(stream).Upload(block_tables_ + at, none.data(),
                                              entries * int64_t{sizeof(int32_t)}, stream));
  }
  return absl::OkStatus();
}

template <typename Record, typename Enqueue>
absl::Status StoreImpl::UploadInPieces(int64_t offset, const Record* records, int64_t count,
                                       Stream stream, const Enqueue& enqueue) {
  const int64_t piece = (plan_bytes_ - offset) / int64_t{sizeof(Record)};
  Record* const room = reinterpret_cast<Record*>(tables_ + offset);
  for (int64_t at = 0; at < count; at += piece) {
    const int64_t size = std::min(piece, count - at);
    TERRACE_RETURN_IF_ERROR(
        On(stream).Upload(room, records + at, size * int64_t{sizeof(Record)}, stream));
    TERRACE_RETURN_IF_ERROR(enqueue(room, static_cast<int32_t>(size)));
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::CopyInPieces(int64_t offset, absl::Span<const BlockCopy> copies,
                                     Stream stream) {
  return UploadInPieces(offset, copies.data(), static_cast<int64_t>(copies.size()), stream,
                        [&](const BlockCopy* records, int32_t count) {
                          return EnqueueCopies(records, count, stream);
                        });
}

absl::Status StoreImpl::EnqueueCopies(const BlockCopy* copies, int32_t count, Stream stream) {
  CopyParams params{};
  params.copies = copies;
  params.count = count;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolPages& place = pools_[p].place;
    if (place.layers == 0) continue;  // no pieces
    params.pools[p] = {pools_[p].base, place.block_stride, place.layer_stride, place.copy_bytes,
                       place.copy_pieces};
  }
  return On(stream).CopyBlocks(params, stream);
}

absl::Status StoreImpl::CheckOrder(const Plan& plan) const {
  const PlanHeader& header = plan.header();
  if (header.fingerprint != fingerprint_) {
    return Invalid("plan ", header.number, " was made for another geometry");
  }
  if (epoch_.value_or(header.epoch) != header.epoch) {
    return absl::FailedPreconditionError(absl::StrCat("plan ", header.number, " is of epoch ",
                                                      header.epoch, ", this store follows epoch ",
                                                      *epoch_, ": another ledger made it"));
  }
  if (!torn_.ok() && !plan.is_snapshot()) return torn_;
  if (!begun_) {
    if (plan.is_snapshot() || header.number == 1) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "plan ", header.number, " is the first this store sees: begin with plan 1 or a snapshot"));
  }
  // Steps of another generation were abandoned, or follow ones that this store began and that were.
  const uint32_t generation = step_.generation;
  if (header.generation < generation || (header.generation > generation && !plan.is_snapshot())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "plan ", header.number, " is of generation ", header.generation, ", this store follows ",
        "generation ", generation, ": plans were abandoned, begin a snapshot of the ledger"));
  }
  // A snapshot brings the tables to its step but no rows: it may be repeated, and that step run.
  const bool after_snapshot = step_.kind == PlanKind::kSnapshot;
  const uint64_t oldest = plan.is_snapshot() || after_snapshot ? last_number_ : last_number_ + 1;
  if (header.number < oldest) {
    return Invalid("plan ", header.number, " comes after plan ", last_number_,
                   ": it was seen before");
  }
  if (header.number == folded_number_ && !plan.is_snapshot()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "plan ", header.number, " was begun and compressed before: its state is folded in place, ",
        "so go on with the next plan, or abandon this one (Ledger::Abandon)"));
  }
  if (header.number > last_number_ + 1 && !plan.is_snapshot()) {
    return absl::FailedPreconditionError(
        absl::StrCat("plan ", header.number, " comes after plan ", last_number_,
                     ": plans are missing, ask the ledger for a snapshot"));
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::Begin(const Plan& plan, Stream stream, int32_t padded_token_rows) {
  if (plan.bytes().empty())
    return Invalid("the plan has 0 bytes, not ", sizeof(PlanHeader), " or more: it was moved from");
  const PlanHeader& header = plan.header();
  TERRACE_RETURN_IF_ERROR(CheckOrder(plan));
  if (padded_token_rows < 0 || padded_token_rows > geometry_.max_step_tokens ||
      (padded_token_rows > 0 && padded_token_rows < header.num_token_rows)) {
    return Invalid("padded_token_rows is ", padded_token_rows, ", not in ", header.num_token_rows,
                   "..", geometry_.max_step_tokens, " (the plan's rows, max_step_tokens)");
  }
  // What kernels find from the header must fit; patches and copies are read by Begin alone and can
  // go in pieces, each into the room behind the rest. A snapshot's always do.
  const int64_t room = plan_bytes_ - header.patches_offset;
  if (room < int64_t{sizeof(BlockPatch)}) {
    return Invalid("plan ", header.number, " has ", header.patches_offset,
                   " bytes before its patches, more than a step of this geometry: ", plan_bytes_);
  }
  const bool in_pieces = plan.is_snapshot() || header.total_bytes > plan_bytes_;

  TERRACE_RETURN_IF_ERROR(kernels_->CheckCanBegin(stream));

  // All that can be refused is checked by now. What fails from here on has changed the tables in
  // part, and a snapshot alone says what they are to be.
  const int32_t padded = std::max(padded_token_rows, header.num_token_rows);
  if (absl::Status status = EnqueueBegin(plan, in_pieces, padded, stream); !status.ok()) {
    torn_ = absl::FailedPreconditionError(
        absl::StrCat("plan ", header.number, " was begun in part (", status.message(),
                     "): begin a Snapshot() of the ledger before anything else"));
    return absl::Status(status.code(), absl::StrCat(status.message(), "; ", torn_.message()));
  }
  torn_ = absl::OkStatus();
  step_ = header;
  padded_token_rows_ = padded;
  begun_ = true;
  epoch_ = header.epoch;
  last_number_ = header.number;
  return absl::OkStatus();
}

absl::Status StoreImpl::EnqueueBegin(const Plan& plan, bool in_pieces, int32_t padded_token_rows,
                                     Stream stream) {
  const PlanHeader& header = plan.header();
  absl::Status status = plan.is_snapshot() ? ResetTables(stream) : absl::OkStatus();
  if (status.ok() && in_pieces) {
    status = UploadInPieces(header.patches_offset, plan.patches().data(), header.num_patches,
                            stream, [&](const BlockPatch* patches, int32_t count) {
                              return On(stream).Patch({geometry_, view_, patches, count}, stream);
                            });
  }
  if (status.ok()) {
    status = On(stream).Begin(
        {geometry_, view_, header, plan.bytes().data(), in_pieces, padded_token_rows}, stream);
  }
  // What checkpoints keep of the state goes before the copies: one of them may write to a block
  // that a sequence had until now. So a plan that is begun again, behind a snapshot, takes it no
  // second time.
  if (status.ok() && header.num_checkpoints > 0 && captured_number_ != header.number) {
    status = EnqueueCaptureOverlap(
        reinterpret_cast<const CheckpointRecord*>(tables_ + header.checkpoints_offset),
        plan.num_settled_checkpoints(), stream);
    if (status.ok()) captured_number_ = header.number;
  }
  // Copies come last, but before any kernel of the step: rows are expanded from the tables alone.
  if (status.ok() && in_pieces) {
    status = CopyInPieces(header.patches_offset, plan.copies(), stream);
  } else if (status.ok() && header.num_copies > 0) {
    status = EnqueueCopies(reinterpret_cast<const BlockCopy*>(tables_ + header.copies_offset),
                           header.num_copies, stream);
  }
  if (status.ok() && header.num_restores > 0) {
    status = EnqueueRestoreState(
        reinterpret_cast<const RestoreRecord*>(tables_ + header.restores_offset),
        header.num_restores, stream);
  }
  return status;
}

absl::Status StoreImpl::CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream) {
  TERRACE_RETURN_IF_ERROR(torn_);
  TERRACE_RETURN_IF_ERROR(ValidateCopies(copies, geometry_));
  // Behind what kernels read of the current step; nobody reads its patches after Begin.
  const int64_t offset = std::max<int64_t>(step_.patches_offset, sizeof(PlanHeader));
  return CopyInPieces(offset, copies, stream);
}

}  // namespace terrace::internal
