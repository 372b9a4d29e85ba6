// Begin. One launch: every CTA takes the whole plan into shared memory, straight from the pinned
// buffer where the host staged it, applies its patches and expands its share of the rows, a thread
// a row: token rows first, then the entry rows of each pool. CTAs need nothing of each other: the
// patches are few, and written twice they are the same. A thread finds its sequence step by
// bisection, so the cost does not grow with the length of a prefill piece.
//
// Both kernels end with a fence: what comes behind them may start as soon as their threads have
// ended and read what they wrote (launch.cuh).
//
// A plan too large to be staged is uploaded and patched first (Patch, a thread a patch); the
// sequence steps are then read where they lie.

#include "kernels/begin.h"
#include "kernels/common/launch.cuh"
#include "src/plan/step_expand.h"

namespace terrace::internal {
namespace {

constexpr int kPatchThreads = 128;
constexpr int kThreads = 1024;
constexpr int kRowsPerThread = 2;  // so that few CTAs ask for the plan
constexpr int kWordsPerThread = kMaxStagedPlanBytes / (kThreads * sizeof(uint4));
static_assert(kMaxStagedPlanBytes % (kThreads * sizeof(uint4)) == 0);
static_assert(sizeof(PlanHeader) % sizeof(uint4) == 0 &&
              sizeof(SequenceStep) % sizeof(uint4) == 0 && sizeof(BlockPatch) == sizeof(uint4) &&
              sizeof(BlockCopy) == sizeof(uint4));

struct BeginLaunch {
  BeginParams params;
  int32_t plan_words;  // of 16 bytes
  int32_t num_patches;
  int32_t total_rows;
};

__device__ __forceinline__ void ApplyPatch(const Geometry& geometry, const StepView& step,
                                           uint4 word16) {
  const int32_t pool = static_cast<int32_t>(word16.x);
  const int64_t row = int64_t{word16.y} * geometry.pools[pool].blocks_per_sequence;
  step.block_table[pool][row + word16.z] = static_cast<int32_t>(word16.w);
}

__global__ void __launch_bounds__(kPatchThreads)
    PatchKernel(const __grid_constant__ PatchParams params) {
  const int32_t index = blockIdx.x * kPatchThreads + threadIdx.x;
  if (index >= params.count) return;
  ApplyPatch(params.geometry, params.step, reinterpret_cast<const uint4*>(params.patches)[index]);
  __threadfence();
}

__device__ __forceinline__ const int32_t* SequenceBlocks(const BeginParams& params, int pool,
                                                         const SequenceStep& sequence) {
  return params.step.block_table[pool] +
         int64_t{sequence.sequence_index} * params.geometry.pools[pool].blocks_per_sequence;
}

// `plan` is the plan where this CTA reads it. Not step.header, which another CTA may be
// writing.
__device__ __forceinline__ void ExpandTokenRow(const BeginParams& params, const PlanHeader& plan,
                                               int32_t row) {
  const StepView& step = params.step;
  const int window = params.geometry.window_pool;
  TokenRow token = {.sequence_index = -1, .position = 0, .first = 0, .first_stored = 0};
  int32_t record = -1;
  int32_t slot = kNoSlot;
  if (row < params.header.num_token_rows) {
    record = StepOfTokenRow(StepsOf(plan), params.header.num_sequences, row);
    const SequenceStep& sequence = StepsOf(plan)[record];
    token = {.sequence_index = sequence.sequence_index,
             .position = sequence.first + row - sequence.token_row,
             .first = sequence.first,
             .first_stored = FirstStoredPosition(params.geometry, sequence)};
    if (window >= 0 &&
        WindowRowWritten(params.geometry, plan, record, token.first_stored, token.position)) {
      slot = SlotOf(params.geometry.pools[window], SequenceBlocks(params, window, sequence),
                    token.position);
    }
  }
  step.tokens[row] = token;
  step.token_record[row] = record;
  step.token_position[row] = token.position;
  if (window >= 0) step.slots[window][row] = slot;
}

__device__ __forceinline__ void ExpandEntryRow(const BeginParams& params, const PlanHeader& plan,
                                               int pool, int32_t row) {
  const StepView& step = params.step;
  const PoolGeometry& geometry = params.geometry.pools[pool];
  const int32_t record = StepOfEntryRow(StepsOf(plan), params.header.num_sequences, pool, row);
  const SequenceStep& sequence = StepsOf(plan)[record];
  const int32_t entry = EntriesClosed(geometry, sequence.first) + row - sequence.entry_row[pool];
  step.slots[pool][row] =
      EntrySlot(geometry, sequence, SequenceBlocks(params, pool, sequence), entry);
  step.entry_position[pool][row] = entry * geometry.ratio;
}

// The plan into shared memory and, by the first CTA, to where later kernels read it.
__device__ __forceinline__ void StagePlan(const BeginLaunch& launch, uint4* staged) {
  const uint4* from = reinterpret_cast<const uint4*>(launch.params.plan);
  uint4* to = blockIdx.x == 0 ? reinterpret_cast<uint4*>(launch.params.step.header) : nullptr;
  // All loads before the first use: one round trip to the host, not one a word.
  uint4 words[kWordsPerThread];
#pragma unroll
  for (int i = 0; i < kWordsPerThread; ++i) {
    const int at = i * kThreads + threadIdx.x;
    if (at < launch.plan_words) words[i] = from[at];
  }
#pragma unroll
  for (int i = 0; i < kWordsPerThread; ++i) {
    const int at = i * kThreads + threadIdx.x;
    if (at >= launch.plan_words) break;
    staged[at] = words[i];
    if (to != nullptr) to[at] = words[i];
  }
}

template <bool kStaged>
__global__ void __launch_bounds__(kThreads)
    BeginKernel(const __grid_constant__ BeginLaunch launch) {
  extern __shared__ uint4 staged[];
  const BeginParams& params = launch.params;
  const PlanHeader* plan = params.step.header;
  if constexpr (kStaged) {
    StagePlan(launch, staged);
    __syncthreads();
    const uint4* patches = staged + params.header.patches_offset / sizeof(uint4);
    for (int32_t i = threadIdx.x; i < launch.num_patches; i += kThreads) {
      ApplyPatch(params.geometry, params.step, patches[i]);
    }
    __syncthreads();
    plan = reinterpret_cast<const PlanHeader*>(staged);
  }
  for (int32_t i = blockIdx.x * kThreads + threadIdx.x; i < launch.total_rows;
       i += gridDim.x * kThreads) {
    if (i < params.padded_token_rows) {
      ExpandTokenRow(params, *plan, i);
      continue;
    }
    int32_t row = i - params.padded_token_rows;
    int pool = 0;
    while (row >= params.header.num_entry_rows[pool]) row -= params.header.num_entry_rows[pool++];
    ExpandEntryRow(params, *plan, pool, row);
  }
  __threadfence();
}

}  // namespace

int LaunchPatch(const PatchParams& params, CUstream_st* stream) {
  return Launch(PatchKernel, {CeilDiv(params.count, kPatchThreads), 1, kPatchThreads}, stream,
                params);
}

int LaunchBegin(const BeginParams& params, CUstream_st* stream) {
  int64_t rows = params.padded_token_rows;
  for (const int32_t entry_rows : params.header.num_entry_rows) rows += entry_rows;
  if (rows > kMaxGridX) return cudaErrorInvalidValue;
  const int64_t ctas = CeilDiv(rows, kThreads * kRowsPerThread);
  BeginLaunch launch = {params, 0, 0, static_cast<int32_t>(rows)};
  if (params.plan == nullptr) {
    return Launch(BeginKernel<false>, {ctas, 1, kThreads}, stream, launch);
  }
  const int64_t bytes = BytesToBegin(params);
  if (bytes > kMaxStagedPlanBytes) return cudaErrorInvalidValue;
  launch.plan_words = static_cast<int32_t>(bytes / sizeof(uint4));
  launch.num_patches = PatchesToBegin(params);
  return Launch(BeginKernel<true>, {ctas > 0 ? ctas : 1, 1, kThreads, static_cast<int>(bytes)},
                stream, launch);
}

}  // namespace terrace::internal
