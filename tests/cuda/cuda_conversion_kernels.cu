// Grid: a thread takes every kStride-th of the 2^32 floats.

#include "kernels/common/launch.cuh"
#include "terrace/formats/bf16.h"
#include "terrace/formats/e2m1.h"
#include "terrace/formats/e4m3.h"
#include "terrace/formats/row_codec.h"
#include "tests/cuda/cuda_conversion_kernels.h"

namespace terrace::testing {
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
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t bits) {
    if (IsNan(bits)) return true;  // e2m1 has no NaN
    const float value = FloatFromBits(bits);
    const float values[8] = {value, -value, 1.5f, value, -value, -3.0f, 0.0f, value};
    uint8_t packed[4];
    EncodeE2m1<8>(values, packed);
    for (int i = 0; i < 4; ++i) {
      const uint32_t low = E2m1FromFloatSoftware(values[2 * i]);
      const uint32_t high = E2m1FromFloatSoftware(values[2 * i + 1]);
      if (packed[i] != (low | (high << 4))) return false;
    }
    return true;
  });
}

__global__ void __launch_bounds__(kThreads)
    CompareBf16Kernel(const __grid_constant__ Comparison comparison) {
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t bits) {
    const float value = FloatFromBits(bits);
    return Bf16FromFloat(value) == Bf16FromFloatSoftware(value);
  });
}

__global__ void __launch_bounds__(kThreads)
    CompareCodesKernel(const __grid_constant__ Comparison comparison) {
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t code) {
    if (code > 0xFFFF) return true;
    const uint8_t codes[4] = {static_cast<uint8_t>(code), static_cast<uint8_t>(code >> 8),
                              static_cast<uint8_t>(~code), static_cast<uint8_t>(~code >> 8)};
    float e4m3[4];
    float e2m1[8];
    DecodeE4m3<4>(codes, e4m3);
    DecodeE2m1<8>(codes, e2m1);
    for (int i = 0; i < 4; ++i) {
      const uint32_t wanted = BitsFromFloat(FloatFromE4m3(codes[i]));
      const uint32_t found = BitsFromFloat(e4m3[i]);
      if (found != wanted && !(IsNan(found) && IsNan(wanted))) return false;
      if (BitsFromFloat(e2m1[2 * i]) != BitsFromFloat(FloatFromE2m1(codes[i])) ||
          BitsFromFloat(e2m1[2 * i + 1]) != BitsFromFloat(FloatFromE2m1(codes[i] >> 4))) {
        return false;
      }
    }
    return true;
  });
}

// The code that the device gives to one value.
__device__ uint8_t ClampedCode(float value) {
  const float values[8] = {value};
  uint8_t packed[4];
  EncodeE2m1<8>(values, packed);
  return packed[0] & 0xF;
}

__global__ void __launch_bounds__(kThreads)
    CompareQuotientsKernel(const __grid_constant__ Comparison comparison) {
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t bits) {
    const float divisor = FloatFromBits(0x3F800000u | (bits & 0x7FFFFFu));  // 1 .. 2
    const uint32_t sign_and_mantissa = ((bits & 0x80000000u) | (bits >> 23 & 0x7Fu) << 16);
    for (uint32_t exponent = 125; exponent < 131; ++exponent) {
      const float value = FloatFromBits(sign_and_mantissa | exponent << 23);
      float values[2] = {value, -value};
      DivideForE2m1<2>(values, divisor);
      const float quotient = DivRn(value, divisor);
      if (ClampedCode(values[0]) != E2m1FromFloatSoftware(quotient) ||
          ClampedCode(values[1]) != E2m1FromFloatSoftware(-quotient)) {
        return false;
      }
    }
    return true;
  });
}

// Whether a packet of `channel` and -channel has the software's codes of channel * factor.
template <RowFormat F>
__device__ bool PacketIsRight(uint16_t channel, GroupScale scale, float quotient) {
  uint16_t channels[kPacketChannels];
  for (int i = 0; i < kPacketChannels; ++i) channels[i] = channel ^ (i % 3 == 1 ? 0x8000 : 0);
  alignas(8) uint8_t packed[kPacketChannels / 2];
  EncodePacket<F>(0, channels, scale, packed);
  for (int i = 0; i < kPacketChannels; ++i) {
    const uint32_t code = packed[i / 2] >> (4 * (i % 2)) & 0xF;
    if (code != E2m1FromFloatSoftware(i % 3 == 1 ? -quotient : quotient)) return false;
  }
  return true;
}

__global__ void __launch_bounds__(kThreads)
    ComparePacketsKernel(const __grid_constant__ Comparison comparison) {
  comparison.result->hardware = 1;
  CompareAll(comparison.result, [](uint32_t bits) {
    const uint16_t channel = static_cast<uint16_t>(bits);
    const float value = FloatFromBf16(channel);
    if (IsNan(BitsFromFloat(value)) || isinf(value)) return true;  // sanitized before
    if (bits < 0x8000 && BitsFromFloat(SixthRn(value)) != BitsFromFloat(DivRn(value, 6.0f))) {
      return false;
    }
    const uint32_t byte = bits >> 16 & 0xFF;
    if (bits >> 24 == 0) {  // mxfp4: every scale
      if (byte < 1 || byte > 252) return true;
      const float factor = InverseUe8m0(byte);
      return PacketIsRight<RowFormat::kIndexerMxfp4>(channel, {factor, byte}, MulRn(value, factor));
    }
    if (bits >> 24 > 32) return true;
    // nvfp4: every scale, under global scales that are powers of two
    const float global_scale = FloatFromBits((127 - 16 + (bits >> 24)) << 23);
    const float divisor = MulRn(FloatFromE4m3(static_cast<uint8_t>(byte)), global_scale);
    if (!(divisor > 0)) return true;
    return PacketIsRight<RowFormat::kNvfp4>(channel, {divisor, byte}, DivRn(value, divisor));
  });
}

int Compare(void (*kernel)(const Comparison), ConversionResult* result) {
  return internal::Launch(kernel, {kBlocks, 1, kThreads}, nullptr, Comparison{result});
}

}  // namespace

int CompareE4m3(ConversionResult* result) { return Compare(CompareE4m3Kernel, result); }
int CompareE2m1(ConversionResult* result) { return Compare(CompareE2m1Kernel, result); }
int CompareBf16(ConversionResult* result) { return Compare(CompareBf16Kernel, result); }
int CompareCodes(ConversionResult* result) { return Compare(CompareCodesKernel, result); }
int CompareQuotients(ConversionResult* result) { return Compare(CompareQuotientsKernel, result); }
int ComparePackets(ConversionResult* result) { return Compare(ComparePacketsKernel, result); }

}  // namespace terrace::testing
