// The bits of a float32, and float32 arithmetic that is rounded once an operation. On the device
// the intrinsics keep nvcc from fusing a product and a sum. On the host the library's files are
// compiled with -ffp-contract=off, and say so by TERRACE_NO_FP_CONTRACT; in other programs MulRn
// hides its product from the compiler where the machine has an instruction that fuses. FmaRn is fused
// wherever it runs.

#ifndef TERRACE_FORMATS_FLOAT_BITS_H_
#define TERRACE_FORMATS_FLOAT_BITS_H_

#include <bit>
#include <cstdint>

#include "terrace/formats/host_device.h"

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
#elif defined(TERRACE_NO_FP_CONTRACT) || (defined(__x86_64__) && !defined(__FMA__))
  return a * b;
#else
  float product = a * b;
#if defined(__x86_64__)
  __asm__("" : "+x"(product));
#elif defined(__aarch64__)
  __asm__("" : "+w"(product));
#else
  volatile float rounded = product;
  product = rounded;
#endif
  return product;
#endif
}

TERRACE_HOST_DEVICE float DivRn(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// a * b + c, rounded once. Without an FMA instruction the host calls the C library: same bits,
// slow.
TERRACE_HOST_DEVICE float FmaRn(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(a, b, c);
#else
  return __builtin_fmaf(a, b, c);
#endif
}

TERRACE_HOST_DEVICE float SqrtRn(float value) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(value);
#else
  return __builtin_sqrtf(value);
#endif
}

TERRACE_HOST_DEVICE float MagnitudeOf(float value) { return __builtin_fabsf(value); }

// The larger one; `floor` if `value` is NaN. Of two zeros either.
TERRACE_HOST_DEVICE float LargerOf(float value, float floor) {
#if defined(__CUDA_ARCH__)
  return fmaxf(value, floor);
#else
  return value > floor ? value : floor;
#endif
}

}  // namespace terrace

#endif  // TERRACE_FORMATS_FLOAT_BITS_H_
