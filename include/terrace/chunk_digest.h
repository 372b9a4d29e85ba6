// ChunkDigest names a chunk of tokens together with all that comes before it: XXH3-128 over the
// parent's digest and the chunk's token ids. A first chunk's parent is the salt, by its own digest.
//
// A digest finds a chunk quickly and names it in events; it never proves anything. The prefix index
// compares salt, parent and token ids before it hands out a block.
//
// What is hashed, all of it little-endian, so that digests are the same on every machine:
//
//   a chunk             seed 0   the 16 bytes of the parent's digest, `low` first, then the token
//                                ids as int32
//   a chunk with keys   seed 0   the same, where KeyedDigest takes the parent's place
//   KeyedDigest         seed 2   the parent's 16 bytes, then the chunk's keys (ChunkKeys)
//   a root              seed 1   the salt's bytes
//
// The seeds keep the three kinds apart: no salt has the digest of another salt's chunk by holding the
// bytes that are hashed there.
//
// Source: XXH3-128 of xxHash.

#ifndef TERRACE_CHUNK_DIGEST_H_
#define TERRACE_CHUNK_DIGEST_H_

#include <cstdint>
#include <limits>
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

// The tokens begin .. end - 1 of a sequence mean more than their ids say: a picture behind
// placeholder ids, embeddings, an adapter from a position on. `key` says what, by a hash or any other
// bytes. Ranges may overlap, and may reach beyond what is known.
struct KeyRange {
  static constexpr int32_t kNoEnd = std::numeric_limits<int32_t>::max();
  int32_t begin = 0;
  int32_t end = kNoEnd;
  absl::string_view key;
};

// The digest of `salt`: what tells tenants, adapters or model versions apart. Any bytes.
ChunkDigest RootDigest(absl::string_view salt);

// Shape: tokens [chunk_tokens].   Cost: about 80 ns for 256 tokens.
ChunkDigest NextDigest(const ChunkDigest& parent, absl::Span<const int32_t> tokens);

// What the chunk of the tokens begin .. end - 1 is compared by beside its ids. Empty where no range
// touches it. Else of each range that does, ordered by begin, end and key: begin and end as int32,
// the key's size as int64, its bytes.
std::string ChunkKeys(absl::Span<const KeyRange> ranges, int32_t begin, int32_t end);

// What stands for the parent in the digest of a chunk with `keys`; `parent` itself if there are none.
ChunkDigest KeyedDigest(const ChunkDigest& parent, absl::string_view keys);

// Digests of the whole chunks of `tokens`, for a caller that asks about one prompt several times.
// REQUIRES: chunk_tokens > 0.
std::vector<ChunkDigest> ChunkDigests(absl::string_view salt, absl::Span<const int32_t> tokens,
                                      int32_t chunk_tokens, absl::Span<const KeyRange> ranges = {});

// NextDigest, or what a test puts in its place to force collisions.
using ChunkHash = ChunkDigest (*)(const ChunkDigest& parent, absl::Span<const int32_t> tokens);

}  // namespace terrace

#endif  // TERRACE_CHUNK_DIGEST_H_
