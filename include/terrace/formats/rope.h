// RoPE: GPT-J (interleaved) rotation of the last 64 channels of a row, in float32, each product
// and the sum rounded once, the result rounded to bf16 (saturating). Host, CUDA and reference
// agree in every bit because nothing is fused (float_bits.h).
//
// A table row is 64 floats: 32 cosines, then 32 sines, of one position.

#ifndef TERRACE_FORMATS_ROPE_H_
#define TERRACE_FORMATS_ROPE_H_

#include <cstdint>
#include <cstring>

#include "terrace/formats/bf16.h"
#include "terrace/formats/float_bits.h"
#include "terrace/formats/host_device.h"
#include "terrace/formats/rope_spec.h"
#include "terrace/formats/row_format.h"

#if !defined(__CUDACC__)
#include <array>
#include <vector>
#endif

namespace terrace {

inline constexpr int kRopePairs = kRopeChannels / 2;

// Rotates kPairs pairs (channels 2i and 2i+1) in place.
// Shape: channels [2 * kPairs], cosines and sines [kPairs].
template <int kPairs>
TERRACE_HOST_DEVICE void RotatePairs(uint16_t* channels, const float* cosines, const float* sines) {
  for (int i = 0; i < kPairs; ++i) {
    // A pair is read and written as one word, so that the loop needs no shuffles.
    uint32_t pair;
    std::memcpy(&pair, channels + 2 * i, sizeof(pair));
    const float even = FloatFromBits(pair << 16);
    const float odd = FloatFromBits(pair & 0xFFFF0000u);
    const float cosine = cosines[i];
    const float sine = sines[i];
    pair = Bf16PairFromFloats(SubRn(MulRn(even, cosine), MulRn(odd, sine)),
                              AddRn(MulRn(even, sine), MulRn(odd, cosine)));
    std::memcpy(channels + 2 * i, &pair, sizeof(pair));
  }
}

#if !defined(__CUDACC__)
// Radians a position of each pair. REQUIRES: base > 1; the other fields are positive.
std::array<double, kRopePairs> RopeFrequencies(const RopeSpec& rope);

// Writes the table row of one position: row [64]. For callers that need a few positions only.
void FillRopeRow(const std::array<double, kRopePairs>& frequencies, int64_t position, float* row);

// The table [max_position, 64] of positions 0 .. max_position - 1, computed in double.
// REQUIRES: as RopeFrequencies. Negative max_position gives an empty table.
// Cost: about 1 us and 256 bytes a position.
std::vector<float> MakeRopeTable(int64_t max_position, const RopeSpec& rope);
#endif

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROPE_H_
