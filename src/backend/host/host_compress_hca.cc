// HCA on the host (kernels/compress/hca.cu on the device).

#include <algorithm>
#include <cstring>

#include "src/backend/host/host_compress.h"
#include "src/backend/host/host_entry.h"
#include "src/base/multiversion.h"
#include "src/plan/step_expand.h"
#include "terrace/formats/compress_math.h"

namespace terrace::internal {
namespace {

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

void Clear(HcaGroup& group) {
  Clear(group.finished);
  Clear(group.open);
}

// Adds the token of `position`.
void AddToken(const CompressPlane& plane, const TokenPart& token, int32_t position,
              HcaGroup& group) {
  const int32_t in_group = position % kHcaRatio;
  AccumulateToken(token.kv, token.score, plane.ape + in_group * kLatentChannels, group.open);
  if (in_group % kHcaSegmentTokens != kHcaSegmentTokens - 1) return;
  AccumulatePart(group.open, group.finished);
  Clear(group.open);
}

bool ClosesGroup(int32_t position) { return position % kHcaRatio == kHcaRatio - 1; }

// Whether all tokens of the entry are fed and final in this step: such entries need no state.
bool IsWhole(const SequenceStep& sequence, int32_t entry) {
  return entry * kHcaRatio >= sequence.first &&
         (entry + 1) * kHcaRatio <= sequence.first + sequence.count - sequence.drafts;
}

// The token's own, and the entry if it closes one.
void FeedToken(const CompressParams& params, const SequenceStep& sequence, const TokenPart& token,
               int32_t position, HcaGroup& group) {
  AddToken(params.planes[0], token, position, group);
  if (!ClosesGroup(position)) return;
  if (position >= sequence.first) {
    const int32_t row = RowOfEntry(params, sequence, position / kHcaRatio);
    if (params.slots[row] != kNoSlot) WriteEntry(params, params.planes[0], group.finished, row);
  }
  Clear(group);
}

void HcaSequence(const CompressParams& params, const SequenceStep& sequence, float* state) {
  const HcaStateLayout layout = {params.max_drafts};
  const CompressPlane& plane = params.planes[0];
  const auto ring_row = [&](int32_t position) { return state + layout.row_offset(position); };
  auto& page = *reinterpret_cast<HcaState*>(state);
  int32_t folded = page.header.range.folded;
  // A stale page is gone on from as if it stood at the step.
  if (!TakeStateToStep(params, sequence, state) || sequence.first == 0) folded = sequence.first;

  HcaGroup group;
  if (folded % kHcaRatio == 0) {
    Clear(group);
  } else {
    group = page.group;
  }
  for (int32_t t = folded; t < sequence.first; ++t) {  // drafts of the step before, final by now
    const float* const row = ring_row(t);
    FeedToken(params, sequence, {row, row + kLatentChannels}, t, group);
  }
  const int32_t length = sequence.first + sequence.count;
  const int32_t final_end = length - sequence.drafts;
  TokenRoom<kLatentChannels> room;
  for (int32_t t = sequence.first; t < final_end;) {
    if (t % kHcaRatio == 0 && IsWhole(sequence, t / kHcaRatio)) {
      t += kHcaRatio;  // the first pass did it
      continue;
    }
    FeedToken(params, sequence, FromInputs(plane, sequence, t, 0, room), t, group);
    ++t;
  }
  page.group = group;
  for (int32_t t = final_end; t < length; ++t) {
    const TokenPart token = FromInputs(plane, sequence, t, 0, room);
    std::memcpy(ring_row(t), token.kv, sizeof(room.kv));
    std::memcpy(ring_row(t) + kLatentChannels, token.score, sizeof(room.score));
    FeedToken(params, sequence, token, t, group);
  }
}

}  // namespace

void CompressHcaEntries(const CompressParams& params, int64_t begin, int64_t end) {
  const CompressPlane& plane = params.planes[0];
  for (int32_t row = static_cast<int32_t>(begin); row < end; ++row) {
    if (params.slots[row] == kNoSlot) continue;
    const SequenceStep& sequence = SequenceOfEntryRow(params, row);
    const int32_t entry = EntryOfRow(params, sequence, row);
    if (!IsWhole(sequence, entry)) continue;
    HcaGroup group;
    Clear(group);
    TokenRoom<kLatentChannels> room;
    for (int32_t t = entry * kHcaRatio; t < (entry + 1) * kHcaRatio; ++t) {
      AddToken(plane, FromInputs(plane, sequence, t, 0, room), t, group);
    }
    WriteEntry(params, plane, group.finished, row);
  }
}

void CompressHcaSequences(const CompressParams& params, int64_t begin, int64_t end) {
  for (int64_t l = begin; l < end; ++l) {
    const SequenceStep& sequence = StepsOf(*params.step.header)[l];
    float* const state = StateOf(params, sequence.sequence_index, /*count=*/true);
    if (state != nullptr) HcaSequence(params, sequence, state);
  }
}

}  // namespace terrace::internal
