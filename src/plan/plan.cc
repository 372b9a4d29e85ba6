#include "terrace/plan.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "src/model/geometry_check.h"
#include "src/plan/block_copies.h"
#include "src/plan/plan_builder.h"
#include "src/plan/plan_checksum.h"
#include "src/plan/step_expand.h"

namespace terrace {
namespace {

using internal::PlanChecksum;
using internal::ValidateCopies;
using internal::ValidateGeometry;

// Checks one plan against one geometry; the first thing that is wrong is the status.
class PlanChecker {
 public:
  PlanChecker(const Plan& plan, const Geometry& geometry)
      : plan_(plan), header_(plan.header()), geometry_(geometry) {}

  // That the arrays lie where a plan's arrays lie: nothing else may be read before.
  absl::Status CheckFrame() const {
    if (header_.magic != kPlanMagic) return Wrong("header", "magic", header_.magic);
    if (header_.version != kPlanVersion) return Wrong("header", "version", header_.version);
    const int64_t size = static_cast<int64_t>(plan_.bytes().size());
    if (header_.total_bytes != size) return Wrong("header", "total_bytes", header_.total_bytes);
    if (header_.num_sequences < 0) return Wrong("header", "num_sequences", header_.num_sequences);
    if (header_.num_checkpoints < 0) {
      return Wrong("header", "num_checkpoints", header_.num_checkpoints);
    }
    if (header_.num_restores < 0) return Wrong("header", "num_restores", header_.num_restores);
    if (header_.num_patches < 0) return Wrong("header", "num_patches", header_.num_patches);
    if (header_.num_copies < 0) return Wrong("header", "num_copies", header_.num_copies);
    const PlanOffsets at = OffsetsOf({.sequences = header_.num_sequences,
                                      .checkpoints = header_.num_checkpoints,
                                      .restores = header_.num_restores,
                                      .patches = header_.num_patches,
                                      .copies = header_.num_copies});
    if (header_.checkpoints_offset != at.checkpoints) {
      return Wrong("header", "checkpoints_offset", header_.checkpoints_offset);
    }
    if (header_.restores_offset != at.restores) {
      return Wrong("header", "restores_offset", header_.restores_offset);
    }
    if (header_.patches_offset != at.patches) {
      return Wrong("header", "patches_offset", header_.patches_offset);
    }
    if (header_.copies_offset != at.copies) {
      return Wrong("header", "copies_offset", header_.copies_offset);
    }
    if (size != at.total_bytes) return Wrong("header", "num_copies", header_.num_copies);
    return absl::OkStatus();
  }

  absl::Status CheckHeader() const {
    if (header_.kind != PlanKind::kStep && header_.kind != PlanKind::kSnapshot) {
      return Wrong("header", "kind", static_cast<int64_t>(header_.kind));
    }
    // Patches alone: nothing else lies before them or after them.
    if (plan_.is_snapshot() && header_.total_bytes != PlanBytes({.patches = header_.num_patches})) {
      return absl::InvalidArgumentError(
          absl::StrFormat("plan header: a snapshot has patches and no other records, this one has "
                          "%d sequences, %d checkpoints, %d restores and %d copies",
                          header_.num_sequences, header_.num_checkpoints, header_.num_restores,
                          header_.num_copies));
    }
    if (!plan_.is_snapshot() && header_.number == 0) return Wrong("header", "number", 0);
    if (header_.num_checkpoints > MaxCheckpoints(geometry_)) {
      return Wrong("header", "num_checkpoints", header_.num_checkpoints);
    }
    if (header_.generation == 0) return Wrong("header", "generation", 0);
    if (header_.reserved != 0) return Wrong("header", "reserved", header_.reserved);
    return absl::OkStatus();
  }

  absl::Status CheckSequences() const {
    std::vector<bool> seen(geometry_.max_sequences);
    int64_t token_rows = 0;
    int32_t checkpoint_begin = 0;
    int64_t entry_rows[kMaxPools] = {};
    for (size_t i = 0; i < plan_.sequences().size(); ++i) {
      const SequenceStep& step = plan_.sequences()[i];
      const auto wrong = [i](const char* field, int64_t value) {
        return Wrong(absl::StrFormat("sequence record %d", i), field, value);
      };
      if (step.sequence_index < 0 || step.sequence_index >= geometry_.max_sequences ||
          seen[step.sequence_index]) {
        return wrong("sequence_index", step.sequence_index);
      }
      seen[step.sequence_index] = true;
      if (step.first < 0 || step.first >= geometry_.max_context_tokens) {
        return wrong("first", step.first);
      }
      if (step.count < 1 || step.count > geometry_.max_context_tokens - step.first) {
        return wrong("count", step.count);
      }
      if (step.drafts < 0 || step.drafts > step.count || step.drafts > geometry_.max_drafts) {
        return wrong("drafts", step.drafts);
      }
      if (step.settled < 0 || step.settled > step.first + step.count) {
        return wrong("settled", step.settled);
      }
      if (step.token_row != token_rows) return wrong("token_row", step.token_row);
      token_rows += step.count;
      for (int p = 0; p < kMaxPools; ++p) {
        if (step.entry_row[p] != entry_rows[p]) return wrong("entry_row", step.entry_row[p]);
        if (p >= geometry_.num_pools || geometry_.pools[p].kind != PoolKind::kFull) continue;
        entry_rows[p] += EntriesClosed(geometry_.pools[p], step.first + step.count) -
                         EntriesClosed(geometry_.pools[p], step.first);
      }
      if (step.write_from < 0 || step.write_from > geometry_.max_context_tokens ||
          step.write_from % geometry_.chunk_tokens != 0) {
        return wrong("write_from", step.write_from);
      }
      if (step.checkpoint_begin < checkpoint_begin ||
          step.checkpoint_begin > header_.num_checkpoints) {
        return wrong("checkpoint_begin", step.checkpoint_begin);
      }
      checkpoint_begin = step.checkpoint_begin;
    }
    if (header_.num_token_rows != token_rows || token_rows > geometry_.max_step_tokens) {
      return Wrong("header", "num_token_rows", header_.num_token_rows);
    }
    for (int p = 0; p < kMaxPools; ++p) {
      if (header_.num_entry_rows[p] != entry_rows[p]) {
        return Wrong("header", "num_entry_rows", header_.num_entry_rows[p]);
      }
    }
    return absl::OkStatus();
  }

  // REQUIRES: CheckSequences found nothing wrong.
  absl::Status CheckCheckpoints() const {
    std::vector<bool> written(geometry_.overlap_pool < 0 || plan_.checkpoints().empty()
                                  ? 0
                                  : geometry_.pools[geometry_.overlap_pool].capacity_blocks);
    const SequenceStep* const steps = plan_.sequences().data();
    int32_t l = -1;  // of the record's sequence; -1: of a settled position
    for (int32_t i = 0; i < header_.num_checkpoints; ++i) {
      const CheckpointRecord& checkpoint = plan_.checkpoints()[i];
      const auto wrong = [i](const char* field, int64_t value) {
        return Wrong(absl::StrFormat("checkpoint %d", i), field, value);
      };
      while (l + 1 < header_.num_sequences && steps[l + 1].checkpoint_begin <= i) ++l;
      int32_t after = 0;
      int32_t last = geometry_.max_context_tokens;
      if (l >= 0) {
        if (checkpoint.sequence_index != steps[l].sequence_index)
          return wrong("sequence_index", checkpoint.sequence_index);
        const bool ascends = i > steps[l].checkpoint_begin;
        after = ascends ? plan_.checkpoints()[i - 1].position : steps[l].first;
        last = steps[l].first + steps[l].count;
      }
      if (checkpoint.sequence_index < 0 || checkpoint.sequence_index >= geometry_.max_sequences) {
        return wrong("sequence_index", checkpoint.sequence_index);
      }
      if (checkpoint.position <= after || checkpoint.position > last ||
          checkpoint.position % geometry_.chunk_tokens != 0) {
        return wrong("position", checkpoint.position);
      }
      const int32_t block = checkpoint.overlap_block;
      const bool takes_block = geometry_.overlap_pool >= 0;
      if (!IsOverlapBlock(block) || (block != kNoBlock) != takes_block ||
          (takes_block && written[block])) {
        return wrong("overlap_block", block);
      }
      if (takes_block) written[block] = true;
      if (!IsStateBlock(checkpoint.state_block, /*needed=*/l < 0)) {
        return wrong("state_block", checkpoint.state_block);
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckRestores() const {
    if (plan_.restores().empty()) return absl::OkStatus();
    std::vector<int32_t> first(geometry_.max_sequences, -1);  // of sequences not restored yet
    for (const SequenceStep& step : plan_.sequences()) first[step.sequence_index] = step.first;
    for (size_t i = 0; i < plan_.restores().size(); ++i) {
      const RestoreRecord& restore = plan_.restores()[i];
      const auto wrong = [i](const char* field, int64_t value) {
        return Wrong(absl::StrFormat("restore %d", i), field, value);
      };
      if (restore.sequence_index < 0 || restore.sequence_index >= geometry_.max_sequences ||
          first[restore.sequence_index] < 0) {
        return wrong("sequence_index", restore.sequence_index);
      }
      if (restore.position != std::exchange(first[restore.sequence_index], -1)) {
        return wrong("position", restore.position);
      }
      if (!IsOverlapBlock(restore.overlap_block)) {
        return wrong("overlap_block", restore.overlap_block);
      }
      if (restore.reserved != 0) return wrong("reserved", restore.reserved);
    }
    return absl::OkStatus();
  }

  absl::Status CheckPatches() const {
    std::vector<uint64_t> places;
    places.reserve(plan_.patches().size());
    for (size_t i = 0; i < plan_.patches().size(); ++i) {
      const BlockPatch& patch = plan_.patches()[i];
      const auto wrong = [i](const char* field, int64_t value) {
        return Wrong(absl::StrFormat("patch %d", i), field, value);
      };
      if (patch.pool < 0 || patch.pool >= geometry_.num_pools) return wrong("pool", patch.pool);
      const PoolGeometry& pool = geometry_.pools[patch.pool];
      if (pool.kind == PoolKind::kOverlap) return wrong("pool", patch.pool);  // it has no tables
      if (patch.sequence_index < 0 || patch.sequence_index >= geometry_.max_sequences) {
        return wrong("sequence_index", patch.sequence_index);
      }
      if (patch.index < 0 || patch.index >= pool.blocks_per_sequence) {
        return wrong("index", patch.index);
      }
      const int32_t least = pool.kind == PoolKind::kWindow ? kNoBlock : 0;
      if (patch.block < least || patch.block >= pool.capacity_blocks) {
        return wrong("block", patch.block);
      }
      places.push_back(uint64_t(patch.sequence_index) << 34 | uint64_t(patch.pool) << 31 |
                       uint64_t(patch.index));
    }
    if (!std::is_sorted(places.begin(), places.end())) std::sort(places.begin(), places.end());
    const auto twice = std::adjacent_find(places.begin(), places.end());
    if (twice != places.end()) {
      return absl::InvalidArgumentError(
          absl::StrFormat("plan patches: index %d of sequence %d in pool %d is patched twice",
                          *twice & 0x7fffffff, *twice >> 34, *twice >> 31 & 7));
    }
    return absl::OkStatus();
  }

  absl::Status CheckCopies() const {
    absl::Status status = ValidateCopies(plan_.copies(), geometry_);
    if (status.ok()) return status;
    return absl::InvalidArgumentError(absl::StrCat("plan ", status.message()));
  }

 private:
  // A block of the overlap pool, or none.
  bool IsOverlapBlock(int32_t block) const {
    return block == kNoBlock || (geometry_.overlap_pool >= 0 && block >= 0 &&
                                 block < geometry_.pools[geometry_.overlap_pool].capacity_blocks);
  }

  // A block of the CSA state pool where there is one and it is needed, or else none.
  bool IsStateBlock(int32_t block, bool needed) const {
    const int pool = CsaStatePool(geometry_).value();
    if (pool < 0 || !needed) return block == kNoBlock;
    return block >= 0 && block < geometry_.pools[pool].capacity_blocks;
  }

  static absl::Status Wrong(const std::string& record, const char* field, int64_t value) {
    return absl::InvalidArgumentError(
        absl::StrFormat("plan %s: %s is %d, which no plan here can have", record, field, value));
  }

  const Plan& plan_;
  const PlanHeader& header_;
  const Geometry& geometry_;
};

}  // namespace

absl::StatusOr<Plan> Plan::Parse(absl::Span<const std::byte> bytes, const Geometry& geometry) {
  TERRACE_RETURN_IF_ERROR(ValidateGeometry(geometry));
  if (bytes.size() < sizeof(PlanHeader)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "plan of %d bytes is shorter than its header of %d", bytes.size(), sizeof(PlanHeader)));
  }
  Plan plan(std::vector<std::byte>(bytes.begin(), bytes.end()));
  const PlanChecker checker(plan, geometry);
  TERRACE_RETURN_IF_ERROR(checker.CheckFrame());
  if (PlanChecksum(absl::MakeSpan(plan.bytes_)) != plan.header().checksum) {
    return absl::InvalidArgumentError("plan header: checksum does not match the bytes");
  }
  if (plan.header().fingerprint != Fingerprint(geometry)) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "plan %d was made for another deployment: its geometry is %016x, this %016x",
        plan.header().number, plan.header().fingerprint, Fingerprint(geometry)));
  }
  TERRACE_RETURN_IF_ERROR(checker.CheckHeader());
  TERRACE_RETURN_IF_ERROR(checker.CheckSequences());
  TERRACE_RETURN_IF_ERROR(checker.CheckCheckpoints());
  TERRACE_RETURN_IF_ERROR(checker.CheckRestores());
  TERRACE_RETURN_IF_ERROR(checker.CheckPatches());
  TERRACE_RETURN_IF_ERROR(checker.CheckCopies());
  return plan;
}

absl::Span<const SequenceStep> Plan::sequences() const {
  return Records<SequenceStep>(sizeof(PlanHeader), header().num_sequences);
}

absl::Span<const CheckpointRecord> Plan::checkpoints() const {
  return Records<CheckpointRecord>(header().checkpoints_offset, header().num_checkpoints);
}

absl::Span<const RestoreRecord> Plan::restores() const {
  return Records<RestoreRecord>(header().restores_offset, header().num_restores);
}

absl::Span<const BlockPatch> Plan::patches() const {
  return Records<BlockPatch>(header().patches_offset, header().num_patches);
}

absl::Span<const BlockCopy> Plan::copies() const {
  return Records<BlockCopy>(header().copies_offset, header().num_copies);
}

int64_t MaxStepPlanBytes(const Geometry& geometry) {
  const int64_t sequences = std::min(geometry.max_sequences, geometry.max_step_tokens);
  return PlanBytes({.sequences = sequences,
                    .checkpoints = MaxCheckpoints(geometry),
                    .restores = sequences,
                    .patches = MaxPatches(geometry)});
}

}  // namespace terrace
