#include "src/backend/host/host_compress.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>

#include "kernels/write.h"
#include "src/backend/host/host_rows.h"
#include "src/base/multiversion.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/compress_math.h"
#include "terrace/formats/row_codec.h"

namespace terrace {
namespace {

void Raise(uint64_t& counter, uint64_t by) {
  if (by != 0) std::atomic_ref<uint64_t>(counter).fetch_add(by, std::memory_order_relaxed);
}

// A softmax sum per channel, as it lies in the state pages.
template <int kChannels>
struct SoftmaxSums {
  float max[kChannels];
  float sum[kChannels];
  float weighted[kChannels];
};

template <int kChannels>
TERRACE_MULTIVERSION void Clear(SoftmaxSums<kChannels>& sums) {
  for (int c = 0; c < kChannels; ++c) {
    sums.max[c] = kEmptySoftmaxSum.max;
    sums.sum[c] = kEmptySoftmaxSum.sum;
    sums.weighted[c] = kEmptySoftmaxSum.weighted;
  }
}

template <int kChannels>
TERRACE_MULTIVERSION void AccumulateToken(const float* kv, const float* score, const float* ape,
                                          SoftmaxSums<kChannels>& sums) {
  for (int c = 0; c < kChannels; ++c) {
    Accumulate(AddRn(score[c], ape[c]), 1.0f, kv[c], sums.max[c], sums.sum[c], sums.weighted[c]);
  }
}

template <int kChannels>
TERRACE_MULTIVERSION void AccumulatePart(const SoftmaxSums<kChannels>& part,
                                         SoftmaxSums<kChannels>& total) {
  for (int c = 0; c < kChannels; ++c) {
    Accumulate(part.max[c], part.sum[c], part.weighted[c], total.max[c], total.sum[c],
               total.weighted[c]);
  }
}

TERRACE_MULTIVERSION void WidenBf16(const uint16_t* from, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = FloatFromBf16(from[i]);
}

// `count` numbers from element `offset` on, as they lie or widened into `room`.
const float* Floats(const void* data, bool bf16, int64_t offset, int count, float* room) {
  if (!bf16) return static_cast<const float*>(data) + offset;
  WidenBf16(static_cast<const uint16_t*>(data) + offset, count, room);
  return room;
}

// A window whose scores are all at hand (PoolWindow), channel by channel. Sets sum and weighted,
// not max.
// Shape: scores, values [kCount][kChannels].
template <int kCount, int kChannels>
TERRACE_MULTIVERSION void PoolWindows(const float (*scores)[kChannels],
                                      const float (*values)[kChannels],
                                      SoftmaxSums<kChannels>& sums) {
  for (int c = 0; c < kChannels; ++c) {
    float channel_scores[kCount];
    float channel_values[kCount];
    for (int i = 0; i < kCount; ++i) {
      channel_scores[i] = scores[i][c];
      channel_values[i] = values[i][c];
    }
    PoolWindow<kCount>(channel_scores, channel_values, sums.sum[c], sums.weighted[c]);
  }
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

// Writes what was pooled of entry row `entry_row` of the step.
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

// The sequence's page of `pages`, or null and counted if it has no block there.
float* StateOf(const CompressParams& params, int32_t sequence_index, bool count) {
  const int32_t block = params.state_table[sequence_index];
  if (block < 0 || block >= params.state.num_blocks) {
    if (count) Raise(params.step.counters->skipped_slots, 1);
    return nullptr;
  }
  return reinterpret_cast<float*>(params.state.base + block * params.state.block_stride);
}

int32_t EntryOfRow(const CompressParams& params, const SequenceStep& sequence, int32_t entry_row) {
  return EntriesClosed(params.pool, sequence.first) + entry_row -
         sequence.entry_row[params.pool_index];
}
int32_t RowOfEntry(const CompressParams& params, const SequenceStep& sequence, int32_t entry) {
  return entry - EntriesClosed(params.pool, sequence.first) + sequence.entry_row[params.pool_index];
}

// The numbers of one token: some columns of one plane of kv and score.
struct TokenPart {
  const float* kv;
  const float* score;
};

template <int kChannels>
struct TokenRoom {
  alignas(64) float kv[kChannels];
  alignas(64) float score[kChannels];
};

template <int kChannels>
TokenPart FromInputs(const CompressPlane& plane, const SequenceStep& sequence, int32_t position,
                     int column, TokenRoom<kChannels>& room) {
  const int64_t row = int64_t{sequence.token_row} + position - sequence.first;
  return {Floats(plane.kv, plane.bf16_rows, row * plane.kv_pitch + column, kChannels, room.kv),
          Floats(plane.score, plane.bf16_rows, row * plane.score_pitch + column, kChannels,
                 room.score)};
}

// One half of the columns of a token, of one plane.
template <int kChannels>
TokenPart CsaToken(const CompressParams& params, int plane, const SequenceStep& sequence,
                   const float* state, int32_t position, int half, TokenRoom<kChannels>& room) {
  if (position >= sequence.first) {
    return FromInputs(params.planes[plane], sequence, position, half * kChannels, room);
  }
  const float* const row =
      state + CsaLayoutOf(params).row_offset(half, position) + CsaStateLayout::plane_offset(plane);
  return {row, row + kChannels};
}

template <int kChannels>
void CsaEntry(const CompressParams& params, int plane, const SequenceStep& sequence,
              const float* state, int32_t entry, int32_t entry_row) {
  alignas(64) float scores[kCsaRows][kChannels];
  alignas(64) float values[kCsaRows][kChannels];
  TokenRoom<kChannels> room;
  for (int j = 0; j < kCsaRows; ++j) {
    const int32_t position = (entry - 1) * kCsaRatio + j;
    if (position < 0) {  // nothing is before the first window
      std::fill_n(scores[j], kChannels, -std::numeric_limits<float>::infinity());
      std::fill_n(values[j], kChannels, 0.0f);
      continue;
    }
    const int half = j < kCsaRatio ? 0 : 1;
    const TokenPart token = CsaToken(params, plane, sequence, state, position, half, room);
    const float* const ape = params.planes[plane].ape + (j % kCsaRatio * 2 + half) * kChannels;
    for (int c = 0; c < kChannels; ++c) scores[j][c] = AddRn(token.score[c], ape[c]);
    std::memcpy(values[j], token.kv, sizeof(values[j]));
  }
  SoftmaxSums<kChannels> sums;
  PoolWindows<kCsaRows, kChannels>(scores, values, sums);
  WriteEntry(params, params.planes[plane], sums, entry_row);
}

void CsaEntries(const CompressParams& params, int64_t begin, int64_t end) {
  const int32_t num_sequences = params.step.header->num_sequences;
  for (int32_t row = static_cast<int32_t>(begin); row < end; ++row) {
    if (params.slots[row] == kNoSlot) continue;
    const SequenceStep& sequence = StepsOf(*params.step.header)[StepOfEntryRow(
        StepsOf(*params.step.header), num_sequences, params.pool_index, row)];
    const float* const state = StateOf(params, sequence.sequence_index, /*count=*/false);
    if (state == nullptr) continue;  // counted with its sequence
    const int32_t entry = EntryOfRow(params, sequence, row);
    CsaEntry<kLatentChannels>(params, 0, sequence, state, entry, row);
    if (params.num_planes > 1) CsaEntry<kIndexerChannels>(params, 1, sequence, state, entry, row);
  }
}

template <int kChannels>
void CopyCsaPlane(const CompressParams& params, int plane, const SequenceStep& sequence,
                  const float* state, int32_t position, int half, float* row) {
  TokenRoom<kChannels> room;
  const TokenPart token = CsaToken(params, plane, sequence, state, position, half, room);
  float* const to = row + CsaStateLayout::plane_offset(plane);
  std::memcpy(to, token.kv, kChannels * sizeof(float));
  std::memcpy(to + kChannels, token.score, kChannels * sizeof(float));
}

// Makes `row` what a state or overlap page holds of a token.
void CopyCsaRow(const CompressParams& params, const SequenceStep& sequence, const float* state,
                int32_t position, int half, float* row) {
  CopyCsaPlane<kLatentChannels>(params, 0, sequence, state, position, half, row);
  if (params.num_planes == 1) return;
  CopyCsaPlane<kIndexerChannels>(params, 1, sequence, state, position, half, row);
}

void TakeCsaCheckpoint(const CompressParams& params, const SequenceStep& sequence,
                       const float* state, const CheckpointRecord& checkpoint) {
  const int32_t block = checkpoint.overlap_block;
  if (params.overlap.base == nullptr || block < 0 || block >= params.overlap.num_blocks) return;
  float* const page =
      reinterpret_cast<float*>(params.overlap.base + block * params.overlap.block_stride);
  for (int j = 0; j < kCsaRatio; ++j) {
    CopyCsaRow(params, sequence, state, checkpoint.position - kCsaRatio + j, 0,
               page + j * CsaLayoutOf(params).row_floats());
  }
}

void CsaSequences(const CompressParams& params, int64_t begin, int64_t end) {
  const CsaStateLayout layout = CsaLayoutOf(params);
  for (int32_t l = static_cast<int32_t>(begin); l < end; ++l) {
    const SequenceStep& sequence = StepsOf(*params.step.header)[l];
    float* const state = StateOf(params, sequence.sequence_index, /*count=*/true);
    if (state == nullptr) continue;
    const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, l);
    for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
      TakeCsaCheckpoint(params, sequence, state, *at);
    }
    const int32_t length = sequence.first + sequence.count;
    for (int half = 0; half < 2; ++half) {
      for (int32_t t = std::max(sequence.first, length - layout.rows(half)); t < length; ++t) {
        CopyCsaRow(params, sequence, state, t, half, state + layout.row_offset(half, t));
      }
    }
  }
}

// An HCA window as it fills: its finished segments, and the open one.
struct HcaWindow {
  SoftmaxSums<kLatentChannels> finished;
  SoftmaxSums<kLatentChannels> open;
};
static_assert(sizeof(HcaWindow) == 6 * kLatentChannels * sizeof(float));

void Clear(HcaWindow& window) {
  Clear(window.finished);
  Clear(window.open);
}

// Adds the token of `position`.
void AddToken(const CompressPlane& plane, const TokenPart& token, int32_t position,
              HcaWindow& window) {
  const int32_t in_window = position % kHcaRatio;
  AccumulateToken(token.kv, token.score, plane.ape + in_window * kLatentChannels, window.open);
  if (in_window % kHcaSegmentTokens != kHcaSegmentTokens - 1) return;
  AccumulatePart(window.open, window.finished);
  Clear(window.open);
}

bool ClosesWindow(int32_t position) { return position % kHcaRatio == kHcaRatio - 1; }

// Whether all tokens of the entry are fed and final in this step: such entries need no state.
bool IsWhole(const SequenceStep& sequence, int32_t entry) {
  return entry * kHcaRatio >= sequence.first &&
         (entry + 1) * kHcaRatio <= sequence.first + sequence.count - sequence.drafts;
}

void HcaEntries(const CompressParams& params, int64_t begin, int64_t end) {
  const int32_t num_sequences = params.step.header->num_sequences;
  const CompressPlane& plane = params.planes[0];
  for (int32_t row = static_cast<int32_t>(begin); row < end; ++row) {
    if (params.slots[row] == kNoSlot) continue;
    const SequenceStep& sequence = StepsOf(*params.step.header)[StepOfEntryRow(
        StepsOf(*params.step.header), num_sequences, params.pool_index, row)];
    const int32_t entry = EntryOfRow(params, sequence, row);
    if (!IsWhole(sequence, entry)) continue;
    HcaWindow window;
    Clear(window);
    TokenRoom<kLatentChannels> room;
    for (int32_t t = entry * kHcaRatio; t < (entry + 1) * kHcaRatio; ++t) {
      AddToken(plane, FromInputs(plane, sequence, t, 0, room), t, window);
    }
    WriteEntry(params, plane, window.finished, row);
  }
}

// The token's own, and the entry if it closes one.
void FeedToken(const CompressParams& params, const SequenceStep& sequence, const TokenPart& token,
               int32_t position, HcaWindow& window) {
  AddToken(params.planes[0], token, position, window);
  if (!ClosesWindow(position)) return;
  if (position >= sequence.first) {
    const int32_t row = RowOfEntry(params, sequence, position / kHcaRatio);
    if (params.slots[row] != kNoSlot) WriteEntry(params, params.planes[0], window.finished, row);
  }
  Clear(window);
}

void HcaSequence(const CompressParams& params, const SequenceStep& sequence, float* state) {
  const HcaStateLayout layout = {params.max_drafts};
  const CompressPlane& plane = params.planes[0];
  const auto ring_row = [&](int32_t position) { return state + layout.row_offset(position); };
  int32_t folded = 0;
  std::memcpy(&folded, state, sizeof(folded));
  // Nothing but a state that a missed step left behind is elsewhere.
  if (folded > sequence.first || folded < std::max(sequence.first - params.max_drafts, 0)) {
    folded = sequence.first;
  }

  HcaWindow window;
  if (folded % kHcaRatio == 0) {
    Clear(window);
  } else {
    std::memcpy(&window, state + HcaStateLayout::kFinished, sizeof(window));
  }
  for (int32_t t = folded; t < sequence.first; ++t) {  // drafts of the step before, final by now
    const float* const row = ring_row(t);
    FeedToken(params, sequence, {row, row + kLatentChannels}, t, window);
  }
  const int32_t length = sequence.first + sequence.count;
  const int32_t final_end = length - sequence.drafts;
  TokenRoom<kLatentChannels> room;
  for (int32_t t = sequence.first; t < final_end;) {
    if (t % kHcaRatio == 0 && IsWhole(sequence, t / kHcaRatio)) {
      t += kHcaRatio;  // the first pass did it
      continue;
    }
    FeedToken(params, sequence, FromInputs(plane, sequence, t, 0, room), t, window);
    ++t;
  }
  std::memcpy(state, &final_end, sizeof(final_end));
  std::memcpy(state + HcaStateLayout::kFinished, &window, sizeof(window));
  for (int32_t t = final_end; t < length; ++t) {
    const TokenPart token = FromInputs(plane, sequence, t, 0, room);
    std::memcpy(ring_row(t), token.kv, sizeof(room.kv));
    std::memcpy(ring_row(t) + kLatentChannels, token.score, sizeof(room.score));
    FeedToken(params, sequence, token, t, window);
  }
}

}  // namespace

void CompressHostEntries(const CompressParams& params, int64_t begin, int64_t end) {
  params.pool.ratio == kCsaRatio ? CsaEntries(params, begin, end) : HcaEntries(params, begin, end);
}

void CompressHostSequences(const CompressParams& params, int64_t begin, int64_t end) {
  if (params.pool.ratio == kCsaRatio) return CsaSequences(params, begin, end);
  for (int64_t l = begin; l < end; ++l) {
    const SequenceStep& sequence = StepsOf(*params.step.header)[l];
    float* const state = StateOf(params, sequence.sequence_index, /*count=*/true);
    if (state != nullptr) HcaSequence(params, sequence, state);
  }
}

}  // namespace terrace
