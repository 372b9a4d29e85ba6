// CaptureOverlap and RestoreState. Grid: a CTA for each record (x) and each row of the state
// pools (y): one layer's page. Rare: checkpoints and resumes.

#include "kernels/common/launch.cuh"
#include "kernels/compress.h"

namespace terrace::internal {
namespace {

constexpr int kThreads = 128;

// The four numbers `four` of what a checkpoint keeps, in the state.
__device__ __forceinline__ int32_t OffsetInState(const CsaStateLayout& layout, int32_t position,
                                                 int four) {
  const int fours = layout.row_floats() / 4;
  return layout.row_offset(0, position - kCsaRatio + four / fours) + four % fours * 4;
}

__device__ __forceinline__ bool IsScore(const CsaStateLayout& layout, int four) {
  const int at = four % (layout.row_floats() / 4) * 4;
  const int indexer = at - CsaStateLayout::plane_offset(1);
  return indexer >= 0 ? indexer >= kIndexerChannels : at >= kLatentChannels;
}

__device__ __forceinline__ int FoursKept(const CsaStateLayout& layout) {
  return kCsaRatio * layout.row_floats() / 4;
}

__global__ void __launch_bounds__(kThreads)
    CaptureOverlapKernel(const __grid_constant__ CaptureOverlapParams params) {
  AwaitPrecedingKernel();
  const CheckpointRecord record = params.records[blockIdx.x];
  const float* state = PageOfBlock(params.state, blockIdx.y, record.state_block);
  float* overlap = PageOfBlock(params.overlap, blockIdx.y, record.overlap_block);
  if (state == nullptr || overlap == nullptr) return;
  for (int i = threadIdx.x; i < FoursKept(params.layout); i += kThreads) {
    const int32_t at = OffsetInState(params.layout, record.position, i);
    reinterpret_cast<float4*>(overlap)[i] = *reinterpret_cast<const float4*>(state + at);
  }
}

// The page stands where the sequence's next step begins. Called by one thread.
__device__ __forceinline__ void StandAt(const RestoreRecord& record, const PoolStatePages& pages,
                                        int32_t row, const int32_t* table) {
  if (row >= pages.rows) return;
  float* const state = PageOfBlock(pages, row, table[record.sequence_index]);
  if (state == nullptr) return;
  reinterpret_cast<StateHeader*>(state)->range = {record.position, record.position};
}

__global__ void __launch_bounds__(kThreads)
    RestoreStateKernel(const __grid_constant__ RestoreStateParams params) {
  AwaitPrecedingKernel();
  const RestoreRecord record = params.records[blockIdx.x];
  const int32_t row = blockIdx.y;
  if (threadIdx.x == 0) {
    StandAt(record, params.hca_state, row, params.hca_table);
    StandAt(record, params.csa_state, row, params.csa_table);
  }
  if (row >= params.csa_state.rows || record.position < kCsaRatio) return;
  float* state = PageOfBlock(params.csa_state, row, params.csa_table[record.sequence_index]);
  const float* overlap = PageOfBlock(params.overlap, row, record.overlap_block);
  if (state == nullptr) return;
  for (int i = threadIdx.x; i < FoursKept(params.csa_layout); i += kThreads) {
    const float nothing = IsScore(params.csa_layout, i) ? -INFINITY : 0.0f;  // it weighs nothing
    float4 four = {nothing, nothing, nothing, nothing};
    if (overlap != nullptr) four = reinterpret_cast<const float4*>(overlap)[i];
    const int32_t at = OffsetInState(params.csa_layout, record.position, i);
    *reinterpret_cast<float4*>(state + at) = four;
  }
}

}  // namespace

int LaunchCaptureOverlap(const CaptureOverlapParams& params, LaunchTarget target) {
  return LaunchAwaiting(CaptureOverlapKernel, {params.count, params.state.rows, kThreads}, target,
                        params);
}

int LaunchRestoreState(const RestoreStateParams& params, LaunchTarget target) {
  const int rows =
      params.csa_state.rows > params.hca_state.rows ? params.csa_state.rows : params.hca_state.rows;
  return LaunchAwaiting(RestoreStateKernel, {params.count, rows, kThreads}, target, params);
}

}  // namespace terrace::internal
