// The bits of a float32, and float32 arithmetic that is rounded once an operation. On the device
// the intrinsics keep nvcc from fusing a product and a sum; host files are compiled with
// -ffp-contract=off for the same reason.

#ifndef TERRACE_FLOAT_BITS_H_
#define TERRACE_FLOAT_BITS_H_

#include <bit>
#include <cstdint>

#include "terrace/host_device.h"

namespace terrace {

TERRACE_HOST_DEVICE uint32_t BitsFromFloat(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  return std::bit_cast<uint32_t>(value);
#endif
}

TERRACE_HOST_DEVICE float FloatFromBits(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}

TERRACE_HOST_DEVICE float AddRn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

TERRACE_HOST_DEVICE float SubRn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fsub_rn(a, b);
#else
  return a - b;
#endif
}

TERRACE_HOST_DEVICE float MulRn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

TERRACE_HOST_DEVICE float DivRn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

}  // namespace terrace

#endif  // TERRACE_FLOAT_BITS_H_
