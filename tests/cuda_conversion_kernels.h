// Kernels that hold the device's conversion instructions against the software ones.

#ifndef TERRACE_TESTS_CUDA_CONVERSION_KERNELS_H_
#define TERRACE_TESTS_CUDA_CONVERSION_KERNELS_H_

#include <cstdint>

namespace terrace {

// What one kernel found. `hardware` is 0 where the code that ran has no such instruction.
struct ConversionResult {
  uint64_t mismatches;
  uint32_t example;  // bits of a float that converts differently, if any does
  uint32_t hardware;
};

// Convert all 2^32 floats both ways and compare, on the current device. `result` is device memory,
// zero. The sign of a NaN code is left open: no row holds a NaN. Return a cudaError_t.
int CompareE4m3(ConversionResult* result);
int CompareE2m1(ConversionResult* result);

// Bits of every bf16 that float32 bits round to, software against __float2bfloat16_rn; infinities
// and what overflows saturate in ours and are left out.
int CompareBf16(ConversionResult* result);

}  // namespace terrace

#endif  // TERRACE_TESTS_CUDA_CONVERSION_KERNELS_H_
