// What a replay writes into rows: bf16 channels that are a hash of all tokens up to the row's last
// and of the row's place. So any reader can tell whether it got the right row, whoever wrote it,
// and nothing needs to be remembered. Written once for host and device.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_CONTENTS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_CONTENTS_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "terrace/formats/host_device.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/contents/hash.h"

namespace terrace::tools {

// Tokens of a prompt under one prefix key (prefix_keys.h).
inline constexpr int32_t kKeyTokens = 512;

// A sequence as rows know it in one step, in the order of the plan's sequences.
struct ContentSequence {
  int64_t first_key;      // of its prompt, in all prefix keys
  uint64_t own_key;       // of prefixes that end in a generated token, ...
  uint64_t rejected_key;  // ... and in a token that will be taken back
  int32_t own_from;       // position of the first generated token
  int32_t keep_end;       // rows that hold a token from here on will be taken back
};
static_assert(std::is_trivially_copyable_v<ContentSequence>);

// A plane of one layer in a pool.
struct ContentPlane {
  int32_t pool;
  int32_t layer_index;  // the place in the pool of the layer that writes it
  int32_t plane;
};

// Key of the rows that a step writes from `first` on and that will be taken back. It differs from
// that of every other row in their place, also of an earlier sequence of the same request.
TERRACE_HOST_DEVICE uint64_t RejectedKey(uint64_t own_key, uint64_t sequence, int32_t first) {
  return Mix(Mix(own_key, sequence), static_cast<uint32_t>(first));
}

// Key of a row whose last token has the position `last`.
TERRACE_HOST_DEVICE uint64_t ContentKey(const ContentSequence& part, const uint64_t* prefix_keys,
                                        int32_t last) {
  if (last >= part.keep_end) return part.rejected_key;
  return last >= part.own_from ? part.own_key : prefix_keys[part.first_key + last / kKeyTokens];
}

// Last token that the entry from `position` on is made of.
TERRACE_HOST_DEVICE int32_t LastTokenOf(EntryRule rule, int32_t ratio, int32_t position) {
  return rule == EntryRule::kPooled ? position + ratio - 1 : position;
}

TERRACE_HOST_DEVICE uint64_t ContentSeed(uint64_t key, int32_t position, ContentPlane plane) {
  const uint64_t place = static_cast<uint64_t>(plane.pool) << 40 |
                         static_cast<uint64_t>(plane.plane) << 32 |
                         static_cast<uint32_t>(plane.layer_index);
  return Mix(Mix(key, static_cast<uint32_t>(position)), place);
}

// Number `index` of a row, any 32 bits.
TERRACE_HOST_DEVICE uint32_t ContentHash(uint64_t seed, uint32_t index) {
  uint32_t hash = static_cast<uint32_t>(seed) + index * 0x9E3779B9u;
  hash ^= hash >> 15;
  hash *= static_cast<uint32_t>(seed >> 32) | 1u;
  hash ^= hash >> 13;
  hash *= 0x85EBCA6Bu;
  return hash ^ hash >> 16;
}

// Channels 2 * pair (low half) and 2 * pair + 1: any sign and mantissa, magnitudes from 2^-7 to 2.
TERRACE_HOST_DEVICE uint32_t ContentPair(uint64_t seed, uint32_t pair) {
  constexpr uint32_t kSmallestExponent = 120u << 7;  // of a bf16, with three random bits above
  return (ContentHash(seed, pair) & 0x83FF83FFu) + (kSmallestExponent << 16 | kSmallestExponent);
}

// Uniform in -2 .. 2, both included.
TERRACE_HOST_DEVICE float ContentNumber(uint64_t seed, uint32_t index) {
  return static_cast<float>(static_cast<int32_t>(ContentHash(seed, index))) * 0x1p-30f;
}

TERRACE_HOST_DEVICE void FillContent(uint64_t seed, int32_t channels, uint16_t* row) {
  for (int32_t pair = 0; pair < channels / 2; ++pair) {
    const uint32_t value = ContentPair(seed, static_cast<uint32_t>(pair));
    std::memcpy(row + 2 * pair, &value, sizeof(value));
  }
}

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_CONTENTS_H_
