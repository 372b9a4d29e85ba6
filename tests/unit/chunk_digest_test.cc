// The expected values are those of the Python package xxhash: xxh3_128 of the bytes that the
// header names, with the seeds that it names.

#include "terrace/chunk_digest.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
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
  EXPECT_EQ(RootDigest("").ToString(), "d9265cc53bb2b9ae6131b78f753823cd");
  EXPECT_EQ(RootDigest("tenant 7").ToString(), "a9b65fc52c9bc7d9636fcb7d82e1e972");
  EXPECT_EQ(RootDigest(absl::string_view("\0a\0", 3)).ToString(),
            "23e5b94d52f749e7c54d14decc004b2a");
}

TEST(ChunkDigestTest, AChunkIsTheHashOfItsParentAndItsTokens) {
  const ChunkDigest root = RootDigest("tenant 7");
  const ChunkDigest first = NextDigest(root, Iota(256));
  EXPECT_EQ(first.ToString(), "1efb0861c835560d532606f41187e606");
  std::vector<int32_t> tokens(256);
  for (int32_t i = 0; i < 256; ++i) tokens[i] = i * 7919 % 129280;
  EXPECT_EQ(NextDigest(first, tokens).ToString(), "055c18d5439126246b740235aca138d7");
  EXPECT_EQ(NextDigest(RootDigest(""), Iota(128)).ToString(), "3abcc41bf83e3579b8452dfcd4b6678e");
}

TEST(ChunkDigestTest, ChunksMayBeOfAnyLengthAndTokensOfAnyValue) {
  const ChunkDigest root = RootDigest("tenant 7");
  EXPECT_EQ(NextDigest(root, {}).ToString(), "90f2b84345d7d2d021ed508dad6bbeda");
  EXPECT_EQ(NextDigest(root, Iota(2048)).ToString(), "fab07a4343c543ee3fcf9e94858d9b36");
  EXPECT_EQ(NextDigest(root, {-1, std::numeric_limits<int32_t>::max(),
                              std::numeric_limits<int32_t>::min(), 5})
                .ToString(),
            "ceb03d60ab4efef5f71349e058fa2bfd");
}

TEST(ChunkDigestTest, DigestsOfAPromptFollowEachOtherAndLeaveOutAPartialChunk) {
  const std::vector<int32_t> tokens = Iota(2 * 256 + 255);
  const std::vector<ChunkDigest> digests = ChunkDigests("tenant 7", tokens, 256);
  ASSERT_EQ(digests.size(), 2u);
  EXPECT_EQ(digests[0], NextDigest(RootDigest("tenant 7"), {tokens.data(), 256}));
  EXPECT_EQ(digests[1], NextDigest(digests[0], {tokens.data() + 256, 256}));
  EXPECT_TRUE(ChunkDigests("tenant 7", {tokens.data(), 255}, 256).empty());
}

// The victim's second chunk hashes its first chunk's digest and its ids; the attacker's salt has the
// same bytes.
TEST(ChunkDigestTest, NoSaltHasTheDigestOfAnothersChunk) {
  const std::vector<int32_t> tokens = Iota(512);
  const std::vector<ChunkDigest> victim = ChunkDigests("victim", tokens, 256);
  const ChunkDigest root = RootDigest("victim");
  std::string salt(reinterpret_cast<const char*>(&root), sizeof(root));
  salt.append(reinterpret_cast<const char*>(tokens.data()), 256 * sizeof(int32_t));
  EXPECT_NE(RootDigest(salt), victim[0]);
  EXPECT_NE(ChunkDigests(salt, {tokens.data() + 256, 256}, 256)[0], victim[1]);
}

std::string Bytes(std::initializer_list<int32_t> head, int64_t size, absl::string_view key) {
  std::string bytes;
  for (const int32_t number : head) bytes.append(reinterpret_cast<const char*>(&number), 4);
  bytes.append(reinterpret_cast<const char*>(&size), 8);
  return bytes.append(key.data(), key.size());
}

TEST(ChunkDigestTest, KeysOfAChunkAreThoseOfTheRangesThatTouchItInOneOrder) {
  const KeyRange a{100, 256, "a"}, b{255, 300, "bb"}, c{300, KeyRange::kNoEnd, ""};
  EXPECT_EQ(ChunkKeys({a, b, c}, 256, 300), Bytes({255, 300}, 2, "bb"));
  EXPECT_EQ(ChunkKeys({b, a, c}, 0, 256), Bytes({100, 256}, 1, "a") + Bytes({255, 300}, 2, "bb"));
  EXPECT_EQ(ChunkKeys({a, b, c}, 512, 768), Bytes({300, KeyRange::kNoEnd}, 0, ""));
  EXPECT_EQ(ChunkKeys({a, b}, 300, 512), "");
}

TEST(ChunkDigestTest, KeysEnterTheDigestInThePlaceOfTheParent) {
  const std::vector<int32_t> tokens = Iota(768);
  const std::vector<ChunkDigest> plain = ChunkDigests("t", tokens, 256);
  const std::vector<ChunkDigest> keyed = ChunkDigests("t", tokens, 256, {{300, 310, "picture"}});
  EXPECT_EQ(keyed[0], plain[0]);
  EXPECT_EQ(keyed[1], NextDigest(KeyedDigest(keyed[0], Bytes({300, 310}, 7, "picture")),
                                 {tokens.data() + 256, 256}));
  EXPECT_EQ(keyed[2], NextDigest(keyed[1], {tokens.data() + 512, 256}));
  EXPECT_NE(keyed[1], plain[1]);
  EXPECT_EQ(KeyedDigest(plain[0], ""), plain[0]);
  EXPECT_EQ(KeyedDigest(RootDigest("t"), "k").ToString(), "64c9ec873d8d834674272ab522ac651f");
}

}  // namespace
}  // namespace terrace::testing
