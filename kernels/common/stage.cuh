// Stages: a row on its way from its page to where bf16 rows go. Its bytes are copied to shared
// memory asynchronously, so that rows under way take no registers. Lanes decode it by vectors of 8
// channels, neighbouring lanes neighbouring vectors whatever the format, without shuffles, back
// into shared memory, and the row goes out as a whole.

#ifndef TERRACE_KERNELS_COMMON_STAGE_CUH_
#define TERRACE_KERNELS_COMMON_STAGE_CUH_

#include <cstdint>
#include <cstring>
#include <cuda/ptx>

#include "kernels/common/warp.cuh"
#include "src/ops/pages.h"
#include "terrace/formats/row_codec.h"

namespace terrace::internal {

inline constexpr int kVectorChannels = 8;  // 16 bytes of bf16
inline constexpr int kPieceBytes = 16;     // of one asynchronous copy

// What a stage holds: the data row, the pieces that the scale row lies in, and, if rows rotate, the
// rope table's row of the position.
template <RowFormat F, bool kRotates>
struct Stage {
  static constexpr RowLayout kLayout = LayoutOf(F);
  static constexpr int kScaleBegin = kLayout.data_bytes;
  static constexpr int kRopeBegin =
      kScaleBegin + (kLayout.scale_bytes + kPieceBytes - 1) / kPieceBytes * kPieceBytes;
  static constexpr int kBytes =
      kRopeBegin + (kRotates ? kRopeChannels * static_cast<int>(sizeof(float)) : 0);
  // Scales behind the data come with it, piece by piece.
  static constexpr bool kContiguous = kLayout.place == ScalePlace::kBehindRow;
  static_assert(kLayout.data_bytes % kPieceBytes == 0);
  static_assert(!kContiguous || kLayout.scale_bytes % kPieceBytes == 0);

  static constexpr int kVectors = kLayout.channels / kVectorChannels;
  static constexpr int kQuantizedVectors = RowShape<F>::kQuantizedChannels / kVectorChannels;
  static constexpr int kFirstRopeVector = RowShape<F>::kFirstRopeChannel / kVectorChannels;
  static constexpr int kGroupVectors = RowShape<F>::kGroupChannels / kVectorChannels;
};

// Waits for all copies that the lanes of the warp have started.
__device__ __forceinline__ void AwaitCopies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
}

// Starts the copies of one row by all lanes of the warp. `rope`: the table's row of its position.
// REQUIRES: pages, block_stride and rope are multiples of 16. A scale row shorter than a piece is
// copied with its neighbours in the block.
template <RowFormat F, bool kRotates>
__device__ __forceinline__ void StartRow(const PlanePages& pages, int32_t slot, const float* rope,
                                         uint8_t* stage) {
  using S = Stage<F, kRotates>;
  const uint8_t* const page = PageOfSlot(pages, slot);
  const int32_t row = RowInPage(pages, slot);
  const int lane = threadIdx.x % kWarpLanes;
#pragma unroll
  for (int piece = 0; piece * kPieceBytes < S::kBytes; piece += kWarpLanes) {
    const int at = (piece + lane) * kPieceBytes;
    if (at >= S::kBytes) break;
    const uint8_t* from = page + row * S::kLayout.data_stride() + at;
    if (!S::kContiguous && at >= S::kScaleBegin) {
      const int scale_piece = row * S::kLayout.scale_bytes / kPieceBytes * kPieceBytes;
      from = page + pages.scale_offset + scale_piece + (at - S::kScaleBegin);
    }
    if (kRotates && at >= S::kRopeBegin) {
      from = reinterpret_cast<const uint8_t*>(rope) + (at - S::kRopeBegin);
    }
    asm volatile("cp.async.cg.shared.global [%0], [%1], %2;" ::"r"(SharedAddress(stage + at)),
                 "l"(from), "n"(kPieceBytes)
                 : "memory");
  }
}

// The bf16 of vector `index` of a staged row, as stored.
template <RowFormat F, bool kRotates>
__device__ __forceinline__ uint4 DecodeVector(const PlanePages& pages, int32_t slot,
                                              const uint8_t* stage, int index) {
  using S = Stage<F, kRotates>;
  constexpr int kBytes = RowShape<F>::kE2m1 ? kVectorChannels / 2 : kVectorChannels;
  uint4 vector;
  if (index >= S::kQuantizedVectors) {
    std::memcpy(&vector,
                __builtin_assume_aligned(stage + S::kQuantizedVectors * kBytes +
                                             (index - S::kQuantizedVectors) * sizeof(vector),
                                         sizeof(vector)),
                sizeof(vector));
    return vector;
  }
  alignas(8) uint8_t codes[kBytes];
  std::memcpy(codes, __builtin_assume_aligned(stage + index * kBytes, kBytes), kBytes);
  const int scale_row =
      S::kContiguous ? 0 : RowInPage(pages, slot) * S::kLayout.scale_bytes % kPieceBytes;
  const uint32_t scale = LoadScale<F>(stage + S::kScaleBegin + scale_row, index / S::kGroupVectors);
  float values[kVectorChannels];
  alignas(16) uint16_t channels[kVectorChannels];
  DecodeValues<F, kVectorChannels>(codes, values);
  ScaleUp<F, kVectorChannels>(values, ScaleValue<F>(scale), pages.global_scale);
  RoundToBf16<kVectorChannels>(values, channels);
  std::memcpy(&vector, channels, sizeof(vector));
  return vector;
}

// The vector rotated by the staged row of the rope table. REQUIRES: index >= kFirstRopeVector.
template <RowFormat F>
__device__ __forceinline__ uint4 RotateVector(uint4 vector, const uint8_t* stage, int index) {
  using S = Stage<F, true>;
  constexpr int kPairs = kVectorChannels / 2;
  const float* cosines = reinterpret_cast<const float*>(stage + S::kRopeBegin) +
                         (index - S::kFirstRopeVector) * kPairs;
  alignas(16) float rope[2][kPairs];
  alignas(16) uint16_t channels[kVectorChannels];
  std::memcpy(rope[0], __builtin_assume_aligned(cosines, 16), sizeof(rope[0]));
  std::memcpy(rope[1], __builtin_assume_aligned(cosines + kRopePairs, 16), sizeof(rope[1]));
  std::memcpy(channels, &vector, sizeof(vector));
  RotatePairs<kPairs>(channels, rope[0], rope[1]);
  std::memcpy(&vector, channels, sizeof(vector));
  return vector;
}

// Stores `count` rows of bf16, at most kRows, that the warp has put one after the other into `rows`
// in shared memory; row i goes to out + i * pitch. From SM90 on the copy engine writes each row as
// a whole, and reads shared memory until AwaitStores.
// REQUIRES: out and pitch are multiples of 16.
template <int kRows, int kRowBytes>
__device__ __forceinline__ void StoreRows(const uint8_t* rows, int count, uint8_t* out,
                                          int64_t pitch) {
  const int lane = threadIdx.x % kWarpLanes;
#if __CUDA_ARCH__ >= 900
  cuda::ptx::fence_proxy_async(cuda::ptx::space_shared);
  __syncwarp();
  if (lane < kRows && lane < count) {
    cuda::ptx::cp_async_bulk(cuda::ptx::space_global, cuda::ptx::space_shared, out + lane * pitch,
                             rows + lane * kRowBytes, kRowBytes);
    cuda::ptx::cp_async_bulk_commit_group();
  }
#else
  __syncwarp();
#pragma unroll
  for (int i = lane; i < kRows * kRowBytes / kPieceBytes; i += kWarpLanes) {
    const int row = i * kPieceBytes / kRowBytes;
    if (row >= count) break;
    *reinterpret_cast<uint4*>(out + row * pitch + i * kPieceBytes % kRowBytes) =
        *reinterpret_cast<const uint4*>(rows + i * kPieceBytes);
  }
#endif
}
__device__ __forceinline__ void AwaitStores() {
#if __CUDA_ARCH__ >= 900
  cuda::ptx::cp_async_bulk_wait_group_read(cuda::ptx::n32_t<0>());
#endif
  __syncwarp();
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_STAGE_CUH_
