// The bytes of a plan: flat, trivially copyable records, the same on host and device,
// little-endian.
//
//   PlanHeader
//   SequenceStep[num_sequences]
//   CheckpointRecord[num_checkpoints]
//   RestoreRecord[num_restores]
//   BlockPatch[num_patches]
//   BlockCopy[num_copies]
//
// Arrays follow each other without gaps, at the offsets the header names, so that one
// host-to-device copy of exactly total_bytes carries a step and kernels find everything from the
// header. Rows are not listed one by one: positions, slots and closing entries are expanded from
// the sequence steps where they are needed (step.h).

#ifndef TERRACE_PLAN_FORMAT_H_
#define TERRACE_PLAN_FORMAT_H_

#include <cstdint>
#include <type_traits>

#include "terrace/pool_kinds.h"

namespace terrace {

inline constexpr uint32_t kPlanMagic = 0x52524554;  // "TERR"
inline constexpr uint32_t kPlanVersion = 3;

inline constexpr int32_t kNoBlock = -1;

enum class PlanKind : uint32_t {
  kStep = 0,      // sequences to advance, and the patches and copies they need
  kSnapshot = 1,  // no sequences; patches that rebuild every block table from nothing
};

struct PlanHeader {
  uint32_t magic;
  uint32_t version;
  uint64_t checksum;     // XXH3-64 of all bytes with this field zero
  uint64_t fingerprint;  // of the geometry
  uint64_t epoch;        // of the ledger: tells one ledger's plans from another's
  uint64_t number;       // PlanNumber; a snapshot has the number of the last step before it
  PlanKind kind;
  int32_t num_sequences;
  int32_t num_token_rows;  // sum of the sequences' counts
  int32_t num_patches;     // over all pools
  int32_t num_copies;
  int32_t patches_offset;  // bytes from the start; sequences start at sizeof(PlanHeader)
  int32_t copies_offset;
  int32_t total_bytes;
  int32_t num_entry_rows[kMaxPools];  // full pools: entries that close in this step; others 0
  int32_t num_checkpoints;
  int32_t checkpoints_offset;
  int32_t num_restores;
  int32_t restores_offset;
  // 1, and one more for each time that the ledger abandoned plans (Ledger::Abandon): numbers go on,
  // and a store takes no step of another generation than its own.
  uint32_t generation;
  uint32_t reserved;  // zero
};
static_assert(std::is_trivially_copyable_v<PlanHeader> && sizeof(PlanHeader) == 128);

// One sequence's part in a step. After it the sequence has first + count rows.
struct SequenceStep {
  int32_t sequence_index;
  int32_t settled;    // rows after this step whose ids were final when the plan was made
  int32_t first;      // position of the step's first token
  int32_t count;      // tokens in this step, drafts included; at least 1
  int32_t drafts;     // the last `drafts` of them may be taken back
  int32_t token_row;  // first row in token-major inputs: the sum of the counts before
  // Entries whose first token is below it lie in shared blocks: they are never written, slot -1. A
  // multiple of the chunk's tokens; 0 where nothing is shared.
  int32_t write_from;
  int32_t checkpoint_begin;      // first of the sequence's checkpoint records inside this step
  int32_t entry_row[kMaxPools];  // full pools: first row in that pool's compact inputs; others 0
};
static_assert(std::is_trivially_copyable_v<SequenceStep> && sizeof(SequenceStep) == 64);

// A checkpoint of `sequence` before `position`, a multiple of the chunk's tokens: the window rows
// of the 127 tokens before it are stored, and the compressor's overlap rows there are copied to
// `overlap_block`.
//
// Inside the step (`position` in first + 1 .. first + count of its sequence step) they follow the
// order of sequences, ascending by position: those of sequence step i are
//
//   [checkpoint_begin of i, checkpoint_begin of i + 1)
//
// The records before the first sequence's are of positions that earlier steps reached and that
// settled since; their rows are stored already, and they are captured before the step changes any
// state.
struct CheckpointRecord {
  int32_t sequence_index;
  int32_t position;
  int32_t overlap_block;  // -1: the model has no overlap pool
  // For a position that an earlier step reached: the block that held the CSA state at that step.
  // The sequence index may be another sequence's by now. -1 inside the step, or without a state
  // pool.
  int32_t state_block;
};
static_assert(std::is_trivially_copyable_v<CheckpointRecord> && sizeof(CheckpointRecord) == 16);

// Before the step the compressor's state of `sequence` becomes what `overlap_block` holds of the
// rows before `position`, or empty (-1).
struct RestoreRecord {
  int32_t sequence_index;
  int32_t position;  // the sequence's first row in this step
  int32_t overlap_block;
  int32_t reserved;  // zero
};
static_assert(std::is_trivially_copyable_v<RestoreRecord> && sizeof(RestoreRecord) == 16);

// block_table[pool][sequence][index] = block. -1 in a window pool: nothing is stored there. No
// place twice in one plan: a device applies them in any order.
struct BlockPatch {
  int32_t pool;
  int32_t sequence_index;
  int32_t index;
  int32_t block;
};
static_assert(std::is_trivially_copyable_v<BlockPatch> && sizeof(BlockPatch) == 16);

// All layers and planes of `source` are copied to `destination` before the step writes.
struct BlockCopy {
  int32_t pool;
  int32_t source;
  int32_t destination;
  int32_t reserved;  // zero
};
static_assert(std::is_trivially_copyable_v<BlockCopy> && sizeof(BlockCopy) == 16);

// How many records of each kind a plan has.
struct PlanCounts {
  int64_t sequences = 0;
  int64_t checkpoints = 0;
  int64_t restores = 0;
  int64_t patches = 0;
  int64_t copies = 0;
};

// Where the arrays of such a plan begin, and where it ends. Bytes from its start; a plan is limited
// to 2^31 - 1.
struct PlanOffsets {
  int64_t sequences;
  int64_t checkpoints;
  int64_t restores;
  int64_t patches;
  int64_t copies;
  int64_t total_bytes;
};
constexpr PlanOffsets OffsetsOf(const PlanCounts& counts) {
  PlanOffsets at{};
  at.sequences = sizeof(PlanHeader);
  at.checkpoints = at.sequences + counts.sequences * int64_t{sizeof(SequenceStep)};
  at.restores = at.checkpoints + counts.checkpoints * int64_t{sizeof(CheckpointRecord)};
  at.patches = at.restores + counts.restores * int64_t{sizeof(RestoreRecord)};
  at.copies = at.patches + counts.patches * int64_t{sizeof(BlockPatch)};
  at.total_bytes = at.copies + counts.copies * int64_t{sizeof(BlockCopy)};
  return at;
}
constexpr int64_t PlanBytes(const PlanCounts& counts) { return OffsetsOf(counts).total_bytes; }

}  // namespace terrace

#endif  // TERRACE_PLAN_FORMAT_H_
