// CSA on the host (kernels/compress/csa.cu on the device).

#include <algorithm>
#include <cstring>
#include <limits>

#include "src/backend/host/host_compress.h"
#include "src/backend/host/host_entry.h"
#include "src/base/multiversion.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/compress_math.h"

namespace terrace::internal {
namespace {

// A group whose scores are all at hand (PoolGroup), channel by channel. Sets sum and weighted,
// not max.
// Shape: scores, values [kCount][kChannels].
template <int kCount, int kChannels>
TERRACE_MULTIVERSION void PoolGroups(const float (*scores)[kChannels],
                                     const float (*values)[kChannels],
                                     SoftmaxSums<kChannels>& sums) {
  for (int c = 0; c < kChannels; ++c) {
    float channel_scores[kCount];
    float channel_values[kCount];
    for (int i = 0; i < kCount; ++i) {
      channel_scores[i] = scores[i][c];
      channel_values[i] = values[i][c];
    }
    PoolGroup<kCount>(channel_scores, channel_values, sums.sum[c], sums.weighted[c]);
  }
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
    if (position < 0) {  // nothing is before the first group
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
  PoolGroups<kCsaRows, kChannels>(scores, values, sums);
  WriteEntry(params, params.planes[plane], sums, entry_row);
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

void CaptureCsaOverlap(const CompressParams& params, const SequenceStep& sequence,
                       const float* state, const CheckpointRecord& checkpoint) {
  if (params.overlap.base == nullptr) return;
  float* const page = PageOfBlock(params.overlap, checkpoint.overlap_block);
  if (page == nullptr) return;
  for (int j = 0; j < kCsaRatio; ++j) {
    CopyCsaRow(params, sequence, state, checkpoint.position - kCsaRatio + j, 0,
               page + j * CsaLayoutOf(params).row_floats());
  }
}

}  // namespace

void CompressCsaEntries(const CompressParams& params, int64_t begin, int64_t end) {
  for (int32_t row = static_cast<int32_t>(begin); row < end; ++row) {
    if (params.slots[row] == kNoSlot) continue;
    const SequenceStep& sequence = SequenceOfEntryRow(params, row);
    const float* const state = StateOf(params, sequence.sequence_index, /*count=*/false);
    if (state == nullptr) continue;  // counted with its sequence
    const int32_t entry = EntryOfRow(params, sequence, row);
    CsaEntry<kLatentChannels>(params, 0, sequence, state, entry, row);
    if (params.num_planes > 1) CsaEntry<kIndexerChannels>(params, 1, sequence, state, entry, row);
  }
}

void CompressCsaSequences(const CompressParams& params, int64_t begin, int64_t end) {
  const CsaStateLayout layout = CsaLayoutOf(params);
  for (int32_t l = static_cast<int32_t>(begin); l < end; ++l) {
    const SequenceStep& sequence = StepsOf(*params.step.header)[l];
    float* const state = StateOf(params, sequence.sequence_index, /*count=*/true);
    if (state == nullptr) continue;
    const StepCheckpoints checkpoints = CheckpointsOf(*params.step.header, l);
    for (const CheckpointRecord* at = checkpoints.begin; at < checkpoints.end; ++at) {
      CaptureCsaOverlap(params, sequence, state, *at);
    }
    const int32_t length = sequence.first + sequence.count;
    TakeStateToStep(params, sequence, state);
    for (int half = 0; half < 2; ++half) {
      for (int32_t t = std::max(sequence.first, length - layout.rows(half)); t < length; ++t) {
        if (!CsaStateLayout::keeps(half, t)) continue;
        CopyCsaRow(params, sequence, state, t, half, state + layout.row_offset(half, t));
      }
    }
  }
}

}  // namespace terrace::internal
