#include "src/backend/host/host_entry.h"

#include "src/backend/host/host_counters.h"
#include "src/backend/host/host_rows.h"
#include "src/base/multiversion.h"
#include "src/ops/write_params.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/compress_math.h"
#include "terrace/formats/row_codec.h"

namespace terrace::internal {
namespace {

TERRACE_MULTIVERSION void WidenBf16(const uint16_t* from, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = FloatFromBf16(from[i]);
}

// `count` numbers from element `offset` on, as they lie or widened into `room`.
const float* Floats(const void* data, bool bf16, int64_t offset, int count, float* room) {
  if (!bf16) return static_cast<const float*>(data) + offset;
  WidenBf16(static_cast<const uint16_t*>(data) + offset, count, room);
  return room;
}

// Pools, norms, rotates if `rope` is given, and rounds. Returns how many pooled values were not
// finite.
template <int kChannels>
TERRACE_MULTIVERSION int FinishRow(const SoftmaxSums<kChannels>& sums, const float* weight,
                                   float eps, const float* rope, bool hadamard, uint16_t* row) {
  alignas(64) float values[kChannels];
  int bad = 0;
  for (int c = 0; c < kChannels; ++c) values[c] = Pooled(sums.sum[c], sums.weighted[c], bad);
  float squares[kChannels / 2];
  for (int i = 0; i < kChannels / 2; ++i) {
    squares[i] = SumOfSquares(values[2 * i], values[2 * i + 1]);
  }
  for (int left = kChannels / 4; left > 0; left /= 2) {
    for (int i = 0; i < left; ++i) squares[i] = AddRn(squares[2 * i], squares[2 * i + 1]);
  }
  const float scale = RmsScale<kChannels>(squares[0], eps);
  for (int c = 0; c < kChannels; ++c) values[c] = Normed(values[c], scale, weight[c]);

  constexpr int kFirstRopeChannel = kChannels - kRopeChannels;
  RoundToBf16<kChannels>(values, row);
  if (rope != nullptr) {
    RotateRounded<kRopePairs>(values + kFirstRopeChannel, rope, rope + kRopePairs,
                              row + kFirstRopeChannel);
  }
  if (hadamard) {
    for (int c = 0; c < kChannels; ++c) values[c] = FloatFromBf16(row[c]);
    HadamardSteps<kChannels>(values);
    for (int c = 0; c < kChannels; ++c) values[c] = MulRn(values[c], kHadamardScale);
    RoundToBf16<kChannels>(values, row);
  }
  return bad;
}

}  // namespace

template <int kChannels>
TokenPart FromInputs(const CompressPlane& plane, const SequenceStep& sequence, int32_t position,
                     int column, TokenRoom<kChannels>& room) {
  const int64_t row = int64_t{sequence.token_row} + position - sequence.first;
  return {Floats(plane.kv, plane.bf16_rows, row * plane.kv_pitch + column, kChannels, room.kv),
          Floats(plane.score, plane.bf16_rows, row * plane.score_pitch + column, kChannels,
                 room.score)};
}

template <int kChannels>
void WriteEntry(const CompressParams& params, const CompressPlane& plane,
                const SoftmaxSums<kChannels>& sums, int32_t entry_row) {
  const float* rope = nullptr;
  bool in_table = true;
  if (plane.rope.data != nullptr) {
    const int32_t position = params.positions[entry_row];
    in_table = position >= 0 && position < plane.rope.positions;
    if (in_table) rope = plane.rope.data + int64_t{position} * kRopeChannels;
  }
  alignas(64) float weight_room[kChannels];
  const float* weight = Floats(plane.norm_weight, plane.bf16_weight, 0, kChannels, weight_room);
  alignas(64) uint16_t row[kChannels];
  const bool hadamard = kChannels == kIndexerChannels && plane.hadamard;
  const int bad = FinishRow<kChannels>(sums, weight, plane.eps, rope, hadamard, row);
  Raise(params.step.counters->nonfinite_values, bad);
  if (!in_table) return Raise(params.step.counters->skipped_positions, 1);
  const WriteSegment segment = {.rows = row,
                                .row_pitch = kChannels,
                                .count = nullptr,
                                .max_rows = 1,
                                .slots = params.slots + entry_row,
                                .positions = nullptr,
                                .of_step = true,
                                .rope = {},
                                .pages = plane.pages};
  WriteHostRows(segment, 0, 1, params.step.counters);
}

float* StateOf(const CompressParams& params, int32_t sequence_index, bool count) {
  float* const page = PageOfBlock(params.state, params.state_table[sequence_index]);
  if (page == nullptr && count) Raise(params.step.counters->skipped_slots, 1);
  return page;
}

bool TakeStateToStep(const CompressParams& params, const SequenceStep& sequence, float* state) {
  FedRange& range = reinterpret_cast<StateHeader*>(state)->range;
  const bool is_stale = IsStale(range, sequence.first, params.max_drafts);
  if (is_stale) {
    Counters& counters = *params.step.counters;
    Raise(counters.stale_states, 1);
    RaiseToAtLeast(counters.first_stale_state,
                   StaleStateOf(params, sequence.sequence_index, sequence.first, range));
  }
  const int32_t length = sequence.first + sequence.count;
  range = {length - sequence.drafts, length};
  return !is_stale;
}

const SequenceStep& SequenceOfEntryRow(const CompressParams& params, int32_t entry_row) {
  const SequenceStep* const sequences = StepsOf(*params.step.header);
  return sequences[StepOfEntryRow(sequences, params.step.header->num_sequences, params.pool_index,
                                  entry_row)];
}

int32_t EntryOfRow(const CompressParams& params, const SequenceStep& sequence, int32_t entry_row) {
  return EntriesClosed(params.pool, sequence.first) + entry_row -
         sequence.entry_row[params.pool_index];
}
int32_t RowOfEntry(const CompressParams& params, const SequenceStep& sequence, int32_t entry) {
  return entry - EntriesClosed(params.pool, sequence.first) + sequence.entry_row[params.pool_index];
}

template TokenPart FromInputs(const CompressPlane&, const SequenceStep&, int32_t, int,
                              TokenRoom<kLatentChannels>&);
template TokenPart FromInputs(const CompressPlane&, const SequenceStep&, int32_t, int,
                              TokenRoom<kIndexerChannels>&);
template void WriteEntry(const CompressParams&, const CompressPlane&,
                         const SoftmaxSums<kLatentChannels>&, int32_t);
template void WriteEntry(const CompressParams&, const CompressPlane&,
                         const SoftmaxSums<kIndexerChannels>&, int32_t);

}  // namespace terrace::internal
