// The expected values are those of the Python package xxhash: xxh3_128 of the bytes that the
// header names.

#include "terrace/chunk_digest.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace terrace::testing {
namespace {

std::vector<int32_t> Iota(int32_t count) {
  std::vector<int32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

TEST(ChunkDigestTest, ARootIsTheHashOfTheSaltsBytes) {
  EXPECT_EQ(RootDigest("").ToString(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(RootDigest("tenant 7").ToString(), "e5c65502544cde222dfa21fdaab27b59");
  EXPECT_EQ(RootDigest(absl::string_view("\0a\0", 3)).ToString(),
            "1ec5f63e2e97b98e8ea925c32d83f841");
}

TEST(ChunkDigestTest, AChunkIsTheHashOfItsParentAndItsTokens) {
  const ChunkDigest root = RootDigest("tenant 7");
  const ChunkDigest first = NextDigest(root, Iota(256));
  EXPECT_EQ(first.ToString(), "a507e485631b664125f05cab5ae9131c");
  std::vector<int32_t> tokens(256);
  for (int32_t i = 0; i < 256; ++i) tokens[i] = i * 7919 % 129280;
  EXPECT_EQ(NextDigest(first, tokens).ToString(), "513e41723d3826f316a5d10f013563cf");
  EXPECT_EQ(NextDigest(RootDigest(""), Iota(128)).ToString(), "a338cf1c5562d65fc4182bad934609b7");
}

TEST(ChunkDigestTest, ChunksMayBeOfAnyLengthAndTokensOfAnyValue) {
  const ChunkDigest root = RootDigest("tenant 7");
  EXPECT_EQ(NextDigest(root, {}).ToString(), "3f1ab1d3390f6f5e3ba0f3d6a862c860");
  EXPECT_EQ(NextDigest(root, Iota(2048)).ToString(), "11979b1c8acd61381d7bcc2ba007c964");
  EXPECT_EQ(NextDigest(root, {-1, std::numeric_limits<int32_t>::max(),
                              std::numeric_limits<int32_t>::min(), 5})
                .ToString(),
            "04b82595839121bea13502e9388348a7");
}

TEST(ChunkDigestTest, DigestsOfAPromptFollowEachOtherAndLeaveOutAPartialChunk) {
  const std::vector<int32_t> tokens = Iota(2 * 256 + 255);
  const std::vector<ChunkDigest> digests = ChunkDigests("tenant 7", tokens, 256);
  ASSERT_EQ(digests.size(), 2u);
  EXPECT_EQ(digests[0], NextDigest(RootDigest("tenant 7"), {tokens.data(), 256}));
  EXPECT_EQ(digests[1], NextDigest(digests[0], {tokens.data() + 256, 256}));
  EXPECT_TRUE(ChunkDigests("tenant 7", {tokens.data(), 255}, 256).empty());
}

}  // namespace
}  // namespace terrace::testing
