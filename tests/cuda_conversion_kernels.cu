// Grid: a thread takes every kStride-th of the 2^32 floats.

#include <cuda_bf16.h>

#include "kernels/launch.cuh"
#include "terrace/bf16.h"
#include "terrace/e2m1.h"
#include "terrace/e4m3.h"
#include "tests/cuda_conversion_kernels.h"

namespace terrace {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 4096;
constexpr uint64_t kStride = uint64_t{kThreads} * kBlocks;
constexpr uint64_t kFloats = uint64_t{1} << 32;

struct Comparison {
  ConversionResult* result;
};

__device__ bool IsNan(uint32_t bits) { return (bits & 0x7FFFFFFFu) > 0x7F800000u; }

// Same(bits) says whether a float converts the same both ways.
template <typename Same>
__device__ void CompareAll(ConversionResult* result, const Same& same) {
  uint64_t mismatches = 0;
  uint32_t example = 0;
  for (uint64_t at = uint64_t{blockIdx.x} * kThreads + threadIdx.x; at < kFloats; at += kStride) {
    const uint32_t bits = static_cast<uint32_t>(at);
    if (same(bits)) continue;
    ++mismatches;
    example = bits;
  }
  if (mismatches == 0) return;
  atomicAdd(reinterpret_cast<unsigned long long*>(&result->mismatches), mismatches);
  atomicExch(&result->example, example);
}

__global__ void __launch_bounds__(kThreads)
    CompareE4m3Kernel(const __grid_constant__ Comparison comparison) {
#if defined(TERRACE_HARDWARE_E4M3)
  comparison.result->hardware = 1;
#endif
  CompareAll(comparison.result, [](uint32_t bits) {
    const uint32_t mask = IsNan(bits) ? 0x7Fu : 0xFFu;
    const float value = FloatFromBits(bits);
    return ((E4m3FromFloat(value) ^ E4m3FromFloatSoftware(value)) & mask) == 0;
  });
}

__global__ void __launch_bounds__(kThreads)
    CompareE2m1Kernel(const __grid_constant__ Comparison comparison) {
#if defined(TERRACE_HARDWARE_E2M1)
  comparison.result->hardware = 1;
#endif
  CompareAll(comparison.result, [](uint32_t bits) {
    if (IsNan(bits)) return true;  // e2m1 has no NaN
    const float values[2] = {FloatFromBits(bits), FloatFromBits(bits ^ 0x80000000u)};
    uint8_t packed;
    EncodeE2m1<2>(values, &packed);
    return packed == (E2m1FromFloatSoftware(values[0]) | (E2m1FromFloatSoftware(values[1]) << 4));
  });
}

__global__ void __launch_bounds__(kThreads)
    CompareBf16Kernel(const __grid_constant__ Comparison comparison) {
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t bits) {
    const uint16_t converted = __bfloat16_as_ushort(__float2bfloat16_rn(FloatFromBits(bits)));
    if ((converted & 0x7FFF) >= 0x7F80) return true;
    return Bf16FromFloat(FloatFromBits(bits)) == converted;
  });
}

int Compare(void (*kernel)(const Comparison), ConversionResult* result) {
  return Launch(kernel, {kBlocks, 1, kThreads}, nullptr, Comparison{result});
}

}  // namespace

int CompareE4m3(ConversionResult* result) { return Compare(CompareE4m3Kernel, result); }
int CompareE2m1(ConversionResult* result) { return Compare(CompareE2m1Kernel, result); }
int CompareBf16(ConversionResult* result) { return Compare(CompareBf16Kernel, result); }

}  // namespace terrace
