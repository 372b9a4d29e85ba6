// Mix is a 64-bit hash. It stands for chance in a replay, so that a run repeats to the bit.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_HASH_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_HASH_H_

#include <cstdint>

#include "terrace/formats/host_device.h"

namespace terrace::tools {

// Every input bit changes every output bit with a chance of about a half.
// Source: the finalizer of MurmurHash3, as published (public domain).
TERRACE_HOST_DEVICE uint64_t Mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xFF51AFD7ED558CCDull;
  x ^= x >> 33;
  x *= 0xC4CEB9FE1A85EC53ull;
  x ^= x >> 33;
  return x;
}

TERRACE_HOST_DEVICE uint64_t Mix(uint64_t a, uint64_t b) {
  return Mix(Mix(a + 0x9E3779B97F4A7C15ull) ^ b);
}

// Uniform in [0, 1).
TERRACE_HOST_DEVICE double UnitInterval(uint64_t hash) {
  return static_cast<double>(hash >> 11) * 0x1p-53;
}

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_HASH_H_
