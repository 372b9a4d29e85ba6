// The raw rows that a replay compresses: kv and score of a token for one plane of a layer. They are
// a hash of all tokens up to it, so an entry made of a wrong token, a stale state or rejected
// drafts differs from what it must be. Written once for host and device.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_RAW_CONTENTS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_RAW_CONTENTS_H_

#include <cstdint>

#include "terrace/formats/host_device.h"
#include "tools/terrace/contents/contents.h"

namespace terrace::tools {

inline constexpr float kMostRawKv = 2.0f;  // in magnitude

// `seed`: ContentSeed of the token's key, position and plane.
TERRACE_HOST_DEVICE float RawKv(uint64_t seed, int32_t column) {
  return ContentNumber(seed, static_cast<uint32_t>(column));
}

// Uniform in -16 .. 16: of the tokens that an entry pools each has channels where it weighs most,
// so no token can be exchanged unseen.
TERRACE_HOST_DEVICE float RawScore(uint64_t seed, int32_t column) {
  constexpr uint32_t kFirst = 1u << 16;  // apart from those of kv
  return 8.0f * ContentNumber(seed, kFirst + static_cast<uint32_t>(column));
}

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_RAW_CONTENTS_H_
