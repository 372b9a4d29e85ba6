// How the CTAs of a cluster hand numbers to its first one: each stores them into that CTA's
// shared memory, where a barrier counts the bytes that have arrived. Only the first CTA waits,
// and only for these bytes: a barrier of the whole cluster would fence all other memory, too. SM90
// on.
//
// The instructions are written by hand: with those that cuda::ptx has, HCA's cluster kernels came
// out 72 and 80 instructions longer (toolkit 13.0, SM90), and mapa it has not.

#ifndef TERRACE_KERNELS_COMMON_CLUSTER_CUH_
#define TERRACE_KERNELS_COMMON_CLUSTER_CUH_

#include <cstdint>

#include "kernels/common/warp.cuh"

namespace terrace::internal {

#if __CUDA_ARCH__ >= 900
// In shared memory, at the same place in each CTA; that of the first one counts. Used once.
struct Inbox {
  uint64_t barrier;

  // Called by all threads of the cluster; then AwaitOpening, Send, and in the first CTA AwaitAll.
  __device__ __forceinline__ void Open(uint32_t bytes) {
    const bool opens = CtaRank() == 0 && threadIdx.x == 0;
    const uint32_t at = SharedAddress(&barrier);
    if (opens) {
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(at) : "memory");
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncwarp();
    if (opens) {
      asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
                   : "memory");
    }
    __syncwarp();
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }
  // Waits until the first CTA is there and its inbox open. Called by all threads.
  __device__ __forceinline__ void AwaitOpening() const {
    __syncwarp();
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
  }
  // Stores `number` at `to`, an address in the own CTA's memory, in the first CTA's.
  __device__ __forceinline__ void Send(float number, const float* to) const {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
                     InFirstCta(to)),
                 "r"(__float_as_uint(number)), "r"(InFirstCta(&barrier))
                 : "memory");
  }
  // Called in the first CTA: waits until all bytes are there.
  __device__ __forceinline__ void AwaitAll() const {
    uint32_t is_there = 0;
    while (is_there == 0) {
      asm volatile(
          "{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], 0;"
          " selp.u32 %0, 1, 0, p; }"
          : "=r"(is_there)
          : "r"(SharedAddress(&barrier))
          : "memory");
    }
  }

  __device__ __forceinline__ static int CtaRank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return static_cast<int>(rank);
  }

 private:
  __device__ __forceinline__ static uint32_t InFirstCta(const void* address) {
    uint32_t mapped;
    asm("mapa.shared::cluster.u32 %0, %1, 0;" : "=r"(mapped) : "r"(SharedAddress(address)));
    return mapped;
  }
};
#else
struct Inbox {};
#endif

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_CLUSTER_CUH_
