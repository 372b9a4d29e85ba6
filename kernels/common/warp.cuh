// What a warp's lanes work out together. Every function here is called by all 32 lanes.

#ifndef TERRACE_KERNELS_COMMON_WARP_CUH_
#define TERRACE_KERNELS_COMMON_WARP_CUH_

#include <cstdint>

namespace terrace::internal {

inline constexpr int kWarpLanes = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ __forceinline__ uint32_t SharedAddress(const void* address) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(address));
}

// Waits for the kThreads threads of whole warps of the CTA that call it, and no others.
// REQUIRES: kBarrier in 1..15; threads that wait at the same time for others have another.
template <int kBarrier, int kThreads>
__device__ __forceinline__ void SyncThreads() {
  static_assert(kThreads % kWarpLanes == 0);
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}

// The largest value of each group of kLanes neighbouring lanes, in all of them.
template <int kLanes>
__device__ __forceinline__ uint32_t GroupMax(uint32_t value) {
  static_assert(kLanes > 0 && kLanes <= kWarpLanes && (kLanes & (kLanes - 1)) == 0);
  if constexpr (kLanes == kWarpLanes) {
    return __reduce_max_sync(kAllLanes, value);
  } else {
#pragma unroll
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      value = max(value, __shfl_xor_sync(kAllLanes, value, offset));
    }
    return value;
  }
}

__device__ __forceinline__ void AddToCounter(uint64_t* counter, uint32_t amount) {
  atomicAdd(reinterpret_cast<unsigned long long*>(counter), amount);
}

// Adds the lanes' `amount`s to a counter. Nearly always all are zero, and then it costs a vote.
__device__ __forceinline__ void CountRare(uint32_t amount, uint64_t* counter) {
  if (!__any_sync(kAllLanes, amount != 0)) return;
  const uint32_t sum = __reduce_add_sync(kAllLanes, amount);
  if (threadIdx.x % kWarpLanes == 0) AddToCounter(counter, sum);
}

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_WARP_CUH_
