// ChunkDigest names a chunk of tokens together with all that comes before it: XXH3-128 over the
// parent's digest and the chunk's token ids. A first chunk's parent is the salt, by its own digest.
//
// A digest finds a chunk quickly and names it in events; it never proves anything. The prefix index
// compares salt, parent and token ids before it hands out a block.
//
// What is hashed, all of it little-endian, so that digests are the same on every machine: the 16
// bytes of the parent's digest, `low` first, then the token ids as int32. A root is the hash of the
// salt's bytes.
//
// Source: XXH3-128 of xxHash, seed 0.

#ifndef TERRACE_CHUNK_DIGEST_H_
#define TERRACE_CHUNK_DIGEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace terrace {

struct ChunkDigest {
  uint64_t low = 0;
  uint64_t high = 0;

  friend constexpr bool operator==(const ChunkDigest&, const ChunkDigest&) = default;

  // 32 hexadecimal digits, the high half first, as xxhsum prints it.
  std::string ToString() const;
};

// The digest of `salt`: what tells tenants, adapters or model versions apart. Any bytes.
ChunkDigest RootDigest(absl::string_view salt);

// Shape: tokens [chunk_tokens].   Cost: about 80 ns for 256 tokens.
ChunkDigest NextDigest(const ChunkDigest& parent, absl::Span<const int32_t> tokens);

// Digests of the whole chunks of `tokens`, for a caller that asks about one prompt several times.
// REQUIRES: chunk_tokens > 0.
std::vector<ChunkDigest> ChunkDigests(absl::string_view salt, absl::Span<const int32_t> tokens,
                                      int32_t chunk_tokens);

// NextDigest, or what a test puts in its place to force collisions.
using ChunkHash = ChunkDigest (*)(const ChunkDigest& parent, absl::Span<const int32_t> tokens);

}  // namespace terrace

#endif  // TERRACE_CHUNK_DIGEST_H_
