#include "tests/tools/serial_lru.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

TEST(SerialLruTest, MatchesWholeChunksAndLeavesATokenToCompute) {
  SerialLru lru(std::numeric_limits<int64_t>::max());
  const auto serve = [&](int32_t tokens, std::vector<int64_t> ids) {
    return lru.Serve({.input_length = tokens, .hash_ids = std::move(ids)});
  };
  EXPECT_EQ(serve(1024, {1, 2}), 0);
  EXPECT_EQ(serve(1024, {1, 2}), 768);
  EXPECT_EQ(serve(1025, {1, 2, 9}), 1024);
  EXPECT_EQ(serve(1000, {1, 2}), 768);
  EXPECT_EQ(serve(1200, {1, 7, 8}), 512);
  EXPECT_EQ(serve(1200, {5, 2, 9}), 0);
  EXPECT_EQ(serve(256, {1}), 0);
}

TEST(SerialLruTest, TheEndOfTheOldestPromptGoesFirst) {
  SerialLru lru(6);
  const auto serve = [&](std::vector<int64_t> ids) {
    return lru.Serve({.input_length = 1025, .hash_ids = std::move(ids)});
  };
  EXPECT_EQ(serve({1, 2, 0}), 0);
  EXPECT_EQ(serve({3, 4, 0}), 0);    // the last two chunks of the first prompt go
  EXPECT_EQ(serve({1, 2, 0}), 512);  // ... and now those of the second
  EXPECT_EQ(serve({1, 2, 0}), 1024);
  EXPECT_EQ(serve({3, 4, 0}), 512);
}

}  // namespace
}  // namespace terrace::testing
