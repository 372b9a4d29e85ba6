// RopeSpec says which angles a rotation has; rope.h makes tables of it.

#ifndef TERRACE_FORMATS_ROPE_SPEC_H_
#define TERRACE_FORMATS_ROPE_SPEC_H_

namespace terrace {

// A base, and YaRN where yarn_factor > 1, without a magnitude factor. YaRN stretches the low
// frequencies by the factor and leaves the high ones. It blends between the pairs that turn
// beta_fast and beta_slow times in the original length.
// Source: YaRN, arXiv:2309.00071.
struct RopeSpec {
  double base = 10000;
  double yarn_factor = 1;
  double yarn_original_length = 65536;
  double yarn_beta_fast = 32;
  double yarn_beta_slow = 1;

  friend bool operator==(const RopeSpec&, const RopeSpec&) = default;
};

// DeepSeek-V4's: of layers with a sliding window alone, and of layers with a compressed pool.
inline constexpr RopeSpec kWindowRope = {.base = 10000};
inline constexpr RopeSpec kCompressedRope = {.base = 160000, .yarn_factor = 16};

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROPE_SPEC_H_
