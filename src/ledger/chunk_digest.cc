#include "terrace/chunk_digest.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <tuple>

#include "absl/strings/str_format.h"
#include "src/base/check.h"

namespace terrace {
namespace {

// Digests and token ids are hashed as they lie in memory.
static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(ChunkDigest) == 16);

// Those of chunks are hashed with seed 0.
constexpr XXH64_hash_t kRootSeed = 1;
constexpr XXH64_hash_t kKeyedSeed = 2;

template <typename T>
void AppendBytes(const T& value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

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
  return DigestOf(XXH3_128bits_withSeed(salt.data(), salt.size(), kRootSeed));
}

std::string ChunkKeys(absl::Span<const KeyRange> ranges, int32_t begin, int32_t end) {
  std::vector<KeyRange> touching;
  for (const KeyRange& range : ranges) {
    if (range.begin < end && range.end > begin) touching.push_back(range);
  }
  std::sort(touching.begin(), touching.end(), [](const KeyRange& a, const KeyRange& b) {
    return std::tie(a.begin, a.end, a.key) < std::tie(b.begin, b.end, b.key);
  });
  std::string keys;
  for (const KeyRange& range : touching) {
    AppendBytes(range.begin, keys);
    AppendBytes(range.end, keys);
    AppendBytes(static_cast<int64_t>(range.key.size()), keys);
    keys.append(range.key.data(), range.key.size());
  }
  return keys;
}

ChunkDigest KeyedDigest(const ChunkDigest& parent, absl::string_view keys) {
  if (keys.empty()) return parent;
  std::string input;
  AppendBytes(parent, input);
  input.append(keys.data(), keys.size());
  return DigestOf(XXH3_128bits_withSeed(input.data(), input.size(), kKeyedSeed));
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
                                      int32_t chunk_tokens, absl::Span<const KeyRange> ranges) {
  TERRACE_CHECK_GT(chunk_tokens, 0);
  std::vector<ChunkDigest> digests(tokens.size() / chunk_tokens);
  ChunkDigest parent = RootDigest(salt);
  for (size_t i = 0; i < digests.size(); ++i) {
    const int32_t begin = static_cast<int32_t>(i) * chunk_tokens;
    if (!ranges.empty()) {
      parent = KeyedDigest(parent, ChunkKeys(ranges, begin, begin + chunk_tokens));
    }
    parent = NextDigest(parent, tokens.subspan(begin, chunk_tokens));
    digests[i] = parent;
  }
  return digests;
}

}  // namespace terrace
