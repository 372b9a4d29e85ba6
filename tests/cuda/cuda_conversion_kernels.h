// Kernels that hold the device's conversion instructions against the software ones.

#ifndef TERRACE_TESTS_CUDA_CUDA_CONVERSION_KERNELS_H_
#define TERRACE_TESTS_CUDA_CUDA_CONVERSION_KERNELS_H_

#include <cstdint>

namespace terrace::testing {

// What one kernel found.
struct ConversionResult {
  uint64_t mismatches;
  uint32_t example;   // bits of a value that converts differently, if any does
  uint32_t hardware;  // 0 where the architecture leaves the conversion to software
};

// Convert every float, or every code, both ways and compare, on the current device. `result` is
// device memory, zero. The sign of a NaN's e4m3 code is left open: no row holds a NaN. Return a
// cudaError_t.
int CompareE4m3(ConversionResult* result);
int CompareE2m1(ConversionResult* result);
int CompareBf16(ConversionResult* result);
int CompareCodes(ConversionResult* result);  // e4m3 and e2m1 to float

// The e2m1 codes of quotients: every bf16 mantissa over every float32 mantissa, at quotients around
// 0.5, 1, 2 and 4, against IEEE division.
int CompareQuotients(ConversionResult* result);

// The e2m1 codes of whole packets: every finite bf16 under every scale, of mxfp4, and of nvfp4 with
// global scales from 2^-15 to 2^16, against the software's of the IEEE quotient.
int ComparePackets(ConversionResult* result);

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_CUDA_CUDA_CONVERSION_KERNELS_H_
