// Numbers that size launches, chosen for the devices at hand (H100, H200) and right, if not best,
// on any other: none of them changes a result. docs/kernels.md says what was tried.

#ifndef TERRACE_KERNELS_COMMON_CONFIG_H_
#define TERRACE_KERNELS_COMMON_CONFIG_H_

#include <cstdint>

namespace terrace::internal {

// Gather: CTAs of a multiprocessor that the registers are to leave room for. With 64 threads each
// they are 1536, the threads that a multiprocessor of any device since SM80 has room for.
inline constexpr int kGatherCtasPerSm = 24;

// Gather: warps of a launch that keep a device busy. Beyond, a warp takes two tiles instead of one:
// the loads of both are under way at once.
inline constexpr int64_t kGatherBusyWarps = 8192;

// Translate: up to so many slots a thread takes one run at a time, because how short the way of a
// query is decides. Beyond, the device is full and what a thread has in flight decides.
inline constexpr int64_t kTranslateFewSlots = 1 << 20;

// Compress of CSA: entries whose rows are put on their way to the L2 while the kernel before still
// runs. They are those of a decode step: one for each of the 132 multiprocessors of an H100.
// More would take the memory from the rows that are wanted first.
inline constexpr int32_t kCsaEarlyEntries = 132;

// CopyBlocks: the most CTAs of a launch. Each takes more tiles beyond.
inline constexpr int64_t kCopyMaxCtas = 1 << 20;

}  // namespace terrace::internal

#endif  // TERRACE_KERNELS_COMMON_CONFIG_H_
