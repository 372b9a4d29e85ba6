// What the replay writes into rows: bf16 channels that are a hash of who the row belongs to, so
// that any reader can tell whether it got the right row, and nothing needs to be remembered.
// Written once for host and device.

#ifndef TERRACE_CLI_CONTENTS_H_
#define TERRACE_CLI_CONTENTS_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cli/hash.h"
#include "terrace/host_device.h"
#include "terrace/pool_kinds.h"

namespace terrace {

// A sequence as rows know it in one step, in the order of the plan's lanes.
struct ContentLane {
  uint64_t sequence;        // its number, never used twice
  int32_t keep_end;         // rows that hold a token from here on will be taken back
  uint32_t reject_version;  // their version: differs from that of every later row in their place
};
static_assert(std::is_trivially_copyable_v<ContentLane>);

// Where a row lives in a model: a plane of one layer's row of a pool.
struct ContentPlane {
  int32_t pool;
  int32_t row;  // of the pool: the layer that writes it
  int32_t plane;
};

// A row that keeps its place has version 0.
inline constexpr uint32_t kKeptVersion = 0;

// Version of the rows that a step writes from `first` on and that will be taken back.
TERRACE_HOST_DEVICE uint32_t RejectVersion(int32_t first) {
  return kKeptVersion + 1 + static_cast<uint32_t>(first);
}

// Version of a row whose last token has the position `last`.
TERRACE_HOST_DEVICE uint32_t ContentVersion(const ContentLane& lane, int32_t last) {
  return last < lane.keep_end ? kKeptVersion : lane.reject_version;
}

// Last token that the entry from `position` on is made of.
TERRACE_HOST_DEVICE int32_t LastTokenOf(EntryRule rule, int32_t ratio, int32_t position) {
  return rule == EntryRule::kPooled ? position + ratio - 1 : position;
}

TERRACE_HOST_DEVICE uint64_t ContentSeed(uint64_t sequence, int32_t position, uint32_t version,
                                         ContentPlane plane) {
  const uint64_t place = static_cast<uint64_t>(plane.pool) << 40 |
                         static_cast<uint64_t>(plane.plane) << 32 |
                         static_cast<uint32_t>(plane.row);
  const uint64_t when = static_cast<uint64_t>(version) << 32 | static_cast<uint32_t>(position);
  return Mix(Mix(sequence, when), place);
}

// Channels 2 * pair (low half) and 2 * pair + 1: any sign and mantissa, magnitudes from 2^-7 to 2.
TERRACE_HOST_DEVICE uint32_t ContentPair(uint64_t seed, uint32_t pair) {
  uint32_t hash = static_cast<uint32_t>(seed) + pair * 0x9E3779B9u;
  hash ^= hash >> 15;
  hash *= static_cast<uint32_t>(seed >> 32) | 1u;
  hash ^= hash >> 13;
  hash *= 0x85EBCA6Bu;
  hash ^= hash >> 16;
  constexpr uint32_t kSmallestExponent = 120u << 7;  // of a bf16, with three random bits above
  return (hash & 0x83FF83FFu) + (kSmallestExponent << 16 | kSmallestExponent);
}

TERRACE_HOST_DEVICE void FillContent(uint64_t seed, int32_t channels, uint16_t* row) {
  for (int32_t pair = 0; pair < channels / 2; ++pair) {
    const uint32_t value = ContentPair(seed, static_cast<uint32_t>(pair));
    std::memcpy(row + 2 * pair, &value, sizeof(value));
  }
}

}  // namespace terrace

#endif  // TERRACE_CLI_CONTENTS_H_
