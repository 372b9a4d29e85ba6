#include "terrace/chunk_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_format.h"
#include "src/base/check.h"

namespace terrace {
namespace {

// Digests and token ids are hashed as they lie in memory.
static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(ChunkDigest) == 16);

ChunkDigest DigestOf(XXH128_hash_t hash) { return {hash.low64, hash.high64}; }

// Of any length, in pieces.
ChunkDigest LongDigest(const ChunkDigest& parent, absl::Span<const int32_t> tokens) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_128bits_reset(&state);
  XXH3_128bits_update(&state, &parent, sizeof(parent));
  XXH3_128bits_update(&state, tokens.data(), tokens.size() * sizeof(int32_t));
  return DigestOf(XXH3_128bits_digest(&state));
}

}  // namespace

std::string ChunkDigest::ToString() const { return absl::StrFormat("%016x%016x", high, low); }

ChunkDigest RootDigest(absl::string_view salt) {
  return DigestOf(XXH3_128bits(salt.data(), salt.size()));
}

// XXH3 is fastest over one piece, and copying a chunk of usual length is cheaper than its pieces.
ChunkDigest NextDigest(const ChunkDigest& parent, absl::Span<const int32_t> tokens) {
  constexpr size_t kMaxTokens = 1024;
  if (tokens.size() > kMaxTokens) return LongDigest(parent, tokens);
  alignas(64) std::byte input[sizeof(parent) + kMaxTokens * sizeof(int32_t)];
  const size_t bytes = tokens.size() * sizeof(int32_t);
  std::memcpy(input, &parent, sizeof(parent));
  if (bytes > 0) std::memcpy(input + sizeof(parent), tokens.data(), bytes);
  return DigestOf(XXH3_128bits(input, sizeof(parent) + bytes));
}

std::vector<ChunkDigest> ChunkDigests(absl::string_view salt, absl::Span<const int32_t> tokens,
                                      int32_t chunk_tokens) {
  TERRACE_CHECK_GT(chunk_tokens, 0);
  std::vector<ChunkDigest> digests(tokens.size() / chunk_tokens);
  ChunkDigest parent = RootDigest(salt);
  for (size_t i = 0; i < digests.size(); ++i) {
    parent = NextDigest(parent, tokens.subspan(i * chunk_tokens, chunk_tokens));
    digests[i] = parent;
  }
  return digests;
}

}  // namespace terrace
