// Compress, CSA. Grid: CTAs for one or several sequences, then a CTA an entry. An entry's CTA has
// a thread for two channels: 8 warps for the latent's, and two, where there is one, for the indexer
// key's. All 8 rows of the entry are on their way at once.
//
// A sequence's threads keep its rings, two warps a token; one thread its page's header. In a step of
// at most D + 1 tokens it overwrites nothing that an entry of the step reads. In a longer one their
// CTA pools those that reach back to the rings itself, before they are written: there are two at
// most.

#include "kernels/common/config.h"
#include "kernels/common/launch.cuh"
#include "kernels/compress.h"
#include "kernels/compress/csa_rings.cuh"
#include "kernels/compress/csa_tokens.cuh"
#include "kernels/compress/entry.cuh"
#include "terrace/counters.h"

namespace terrace::internal {
namespace {

TERRACE_HOST_DEVICE int CtaThreads(const CompressParams& params) {
  return kLatentThreads + (params.num_planes > 1 ? kIndexerThreads : 0);
}
// With a token for each sequence 64 threads have one: the fewer CTAs, the more room is
// there for those of the next launch. With more tokens a sequence has a CTA, whose groups of
// threads take turns.
TERRACE_HOST_DEVICE int SequencesPerCta(const CompressParams& params) {
  return params.max_token_rows > params.max_sequences ? 1 : CtaThreads(params) / kGroupThreads;
}
TERRACE_HOST_DEVICE int32_t SequenceCtas(const CompressParams& params) {
  const int32_t sequences = SequencesPerCta(params);
  return (params.max_sequences + sequences - 1) / sequences;
}

// StepOfEntryRow (step.h) by a warp: 32 records at a time.
__device__ __forceinline__ int32_t FindSequence(const CompressParams& params, int32_t num_sequences,
                                                int32_t entry_row) {
  const SequenceStep* const sequences = StepsOf(*params.step.header);
  int32_t low = 0;
  for (int32_t left = num_sequences; left > 1;) {
    const int32_t stride = (left + kWarpLanes - 1) / kWarpLanes;
    const int32_t at = static_cast<int32_t>(threadIdx.x) % kWarpLanes * stride;
    const bool begun = at < left && sequences[low + at].entry_row[params.pool_index] <= entry_row;
    const int32_t skipped = (__popc(__ballot_sync(kAllLanes, begun)) - 1) * stride;
    low += skipped;
    left = min(stride, left - skipped);
  }
  return low;
}

// Pools and stores a plane of an entry. Called by the plane's threads.
template <int kPlane, bool kBf16>
__device__ __forceinline__ void DoPlane(const Tokens<kBf16>& tokens, int32_t entry,
                                        EntryDestination place, int thread, RowShared& shared) {
  constexpr int kChannels = ChannelsOf(kPlane);
  const CompressParams& params = tokens.params;
  const CompressPlane& plane = params.planes[kPlane];
  Pair kv[kCsaRows];
  Pair score[kCsaRows];
  tokens.template LoadGroups<kPlane>((entry - 1) * kCsaRatio, 2 * thread, kv, score);
  const EntryFactors factors = LoadFactors<kChannels>(plane, place, thread);
  float kvs[2][kCsaRows];
  float scores[2][kCsaRows];
#pragma unroll
  for (int j = 0; j < kCsaRows; ++j) {
    const int column = 2 * thread + j / kCsaRatio * kChannels;
    const Pair ape = LoadPair<false>(plane.ape, j % kCsaRatio * (2 * kChannels) + column);
    scores[0][j] = AddRn(score[j].even, ape.even);
    scores[1][j] = AddRn(score[j].odd, ape.odd);
    kvs[0][j] = kv[j].even;
    kvs[1][j] = kv[j].odd;
  }
  int bad = 0;
  float pooled[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float sum;
    float weighted;
    PoolGroup<kCsaRows>(scores[i], kvs[i], sum, weighted);
    pooled[i] = Pooled(sum, weighted, bad);
  }
  CountRare(bad, &params.step.counters->nonfinite_values);
  StoreEntry<kChannels>(plane, {pooled[0], pooled[1]}, factors, place, thread, shared,
                        params.step.counters);
}

// Called by all threads.
template <bool kBf16>
__device__ __forceinline__ void DoEntry(const Tokens<kBf16>& tokens, int32_t entry,
                                        EntryDestination place, RowShared (&shared)[kMaxPlanes]) {
  const int thread = OpaqueThread();
  if (thread < kLatentThreads) {
    DoPlane<0>(tokens, entry, place, thread, shared[0]);
  } else {
    DoPlane<1>(tokens, entry, place, thread - kLatentThreads, shared[1]);
  }
}

// Whether a sequence's CTA may have to read its rings before it writes them.
__device__ __forceinline__ bool ReadsRings(const CompressParams& params, int32_t record) {
  const PlanHeader& header = *params.step.header;
  const StepCheckpoints checkpoints = CheckpointsOf(header, record);
  return StepsOf(header)[record].count > params.max_drafts + 1 ||
         checkpoints.begin < checkpoints.end;
}

// Pools the entries of a sequence that reach back to its rings. Called by all threads of the CTA.
template <bool kBf16>
__device__ __forceinline__ void DoEntriesOfSequence(const CompressParams& params, int32_t record,
                                                    RowShared (&shared)[kMaxPlanes]) {
  if (record >= params.step.header->num_sequences) return;
  const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
  if (tokens.state == nullptr) return;
  const int32_t first_row = tokens.sequence.entry_row;
  const int32_t end_row = first_row + tokens.EntriesOfSequence();
  for (int32_t row = first_row; row < end_row; ++row) {
    const EntryDestination place = DestinationOf(params, row);
    if (place.slot != kNoSlot) DoEntry(tokens, tokens.EntryOfRow(row), place, shared);
    __syncthreads();  // before the warps share anything else
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoSequences(const CompressParams& params, int32_t cta,
                                            RowShared (&shared)[kMaxPlanes]) {
  const PlanHeader& header = *params.step.header;
  const int sequences = SequencesPerCta(params);
  const int groups = static_cast<int>(blockDim.x) / kGroupThreads;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads;
  const bool is_shared = sequences == 1;
  const int32_t first_record = cta * sequences;
  const int32_t record = first_record + (is_shared ? 0 : group);
  const bool has_sequence = record < header.num_sequences;
  const Share of_group = is_shared ? Share{group, groups} : Share{0, 1};
  if (has_sequence) {
    const int thread = static_cast<int>(threadIdx.x) % kGroupThreads;
    PrefetchRings(TokensOf<kBf16>(params, record),
                  {of_group.first * kGroupThreads + thread, of_group.stride * kGroupThreads});
  }
  if (__syncthreads_or(has_sequence && ReadsRings(params, record))) {
    AwaitPrecedingKernel();
    for (int i = 0; i < sequences; ++i)
      DoEntriesOfSequence<kBf16>(params, first_record + i, shared);
    if (has_sequence) {
      const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
      if (tokens.state != nullptr) {
        CaptureCheckpoints(tokens, CheckpointsOf(header, record), of_group);
      }
    }
    __syncthreads();  // the rings are read
  }
  if (!has_sequence) return;
  const Tokens<kBf16> tokens = TokensOf<kBf16>(params, record);
  if (tokens.state != nullptr) {
    UpdateRings(tokens, of_group);
  } else if (threadIdx.x % (is_shared ? blockDim.x : kGroupThreads) == 0) {
    AddToCounter(&params.step.counters->skipped_slots, 1);
  }
}

template <bool kBf16>
__device__ __forceinline__ void DoEntryOfRow(const CompressParams& params, int32_t row,
                                             RowShared (&shared)[kMaxPlanes]) {
  const PlanHeader& header = *params.step.header;
  if (row >= min(params.max_entry_rows, header.num_entry_rows[params.pool_index])) return;
  const Tokens<kBf16> tokens =
      TokensOf<kBf16>(params, FindSequence(params, header.num_sequences, row));
  const EntryDestination place = DestinationOf(params, row);
  const bool of_sequence = row - tokens.sequence.entry_row < tokens.EntriesOfSequence();
  if (of_sequence || tokens.state == nullptr || place.slot == kNoSlot) return;
  const int32_t entry = tokens.EntryOfRow(row);
  if (row < kCsaEarlyEntries && threadIdx.x < kWarpLanes) PrefetchEntry(tokens, entry);
  AwaitPrecedingKernel();
  DoEntry(tokens, entry, place, shared);
}

template <bool kBf16>
__global__ void __launch_bounds__(kLatentThreads + kIndexerThreads, 3)
    CompressCsaKernel(const __grid_constant__ CompressParams params) {
  __shared__ RowShared shared[kMaxPlanes];
  const int32_t cta = blockIdx.x;
  if (cta < SequenceCtas(params)) {
    DoSequences<kBf16>(params, cta, shared);
  } else {
    DoEntryOfRow<kBf16>(params, cta - SequenceCtas(params), shared);
  }
  AwaitPrecedingKernel();
}

}  // namespace

int LaunchCompressCsa(const CompressParams& params, LaunchTarget target) {
  const int64_t ctas = int64_t{SequenceCtas(params)} + params.max_entry_rows;
  return LaunchAwaiting(
      params.planes[0].bf16_rows ? CompressCsaKernel<true> : CompressCsaKernel<false>,
      {ctas, 1, CtaThreads(params)}, target, params);
}

}  // namespace terrace::internal
