// What the rows of GatherWindow are, as docs/guide.md says: oldest first, and which of them are zero.

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "terrace/formats/bf16.h"
#include "tests/support/small_cache.h"

namespace terrace::testing {
namespace {

constexpr int32_t kWindow = 128;

class WindowOrderTest : public SmallCacheTest {
 protected:
  // Writes token `first` + i of the step as the number 1 + first + i, in layer 0.
  void RunNumbered(const Plan& plan, int32_t first) {
    Begin(plan);
    const int32_t count = plan.header().num_token_rows;
    std::vector<uint16_t> rows(count * kLatentChannels);
    for (int32_t i = 0; i < count; ++i) {
      const uint16_t number = Bf16FromFloat(static_cast<float>(1 + first + i));
      for (int c = 0; c < kLatentChannels; ++c) rows[i * kLatentChannels + c] = number;
    }
    ASSERT_TRUE(cache_->Write(0, {.swa = {.data = rows.data()}}, {}).ok());
  }

  // The numbers that a token row of the step reads, one a window row; 0 where there is none.
  std::vector<int32_t> Read(int32_t token_row) {
    std::vector<uint16_t> rows(kWindow * kLatentChannels, 0x7FFF);
    const absl::Status status =
        cache_->GatherWindow(0, {.token_rows = &token_row, .count = 1}, {.data = rows.data()}, {});
    EXPECT_TRUE(status.ok()) << status;
    std::vector<int32_t> numbers(kWindow);
    for (int32_t i = 0; i < kWindow; ++i) {
      numbers[i] = static_cast<int32_t>(FloatFromBf16(rows[i * kLatentChannels]));
    }
    return numbers;
  }
};

// bf16 counts to 256 exactly.
std::vector<int32_t> Numbers(int32_t from, int32_t count) {
  std::vector<int32_t> numbers(kWindow);
  for (int32_t i = 0; i < count; ++i) numbers[i] = from + i;
  return numbers;
}

TEST_F(WindowOrderTest, RowsAreOldestFirstAndZeroBehindTheQuerysOwn) {
  Make();
  const SequenceId id = Allocate(5).id;
  RunNumbered(Append(id, 5), 0);
  EXPECT_EQ(Read(4), Numbers(1, 5));
  EXPECT_EQ(Read(2), Numbers(1, 3));  // a query sees no later token
}

TEST_F(WindowOrderTest, AQueryPastTheFirstWindowReadsTheLast128) {
  Make();
  const SequenceId id = Allocate(200).id;
  RunNumbered(Append(id, 200), 0);
  std::vector<int32_t> stored = Numbers(200 - 127, kWindow);
  stored[0] = 0;  // no later step sees it
  EXPECT_EQ(Read(199), stored);
  ASSERT_TRUE(cache_->Commit(id, {7}).ok());
  RunNumbered(Append(id, 1), 200);
  EXPECT_EQ(Read(0), Numbers(201 - 127, kWindow));
}

// Rows of a long prefill piece that no later step can see are not stored: they stay zero in place.
TEST_F(WindowOrderTest, InALongPrefillPieceRowsThatAreNotStoredAreZeroInTheirPlace) {
  Make();
  const SequenceId id = Allocate(256).id;
  RunNumbered(Append(id, 256), 0);
  const std::vector<int32_t> of_200 = Read(200);  // positions 73 .. 200
  int32_t zeros = 0;
  for (int32_t i = 0; i < kWindow; ++i) {
    zeros += of_200[i] == 0;
    EXPECT_TRUE(of_200[i] == 0 || of_200[i] == 1 + 73 + i) << i;
  }
  EXPECT_GT(zeros, 0);
  EXPECT_LT(zeros, kWindow);
  EXPECT_EQ(of_200[0], 0);
}

// Without a checkpoint a match is refed, and rows before the refeed do not exist.
TEST_F(WindowOrderTest, BeforeARefeedRowsAreZeroInTheirPlace) {
  auto model = MakeModel({.ratios = {0, 4, 128}, .latent_format = RowFormat::kBf16});
  cache_ = *Cache::Create(
      {.model = *model,
       .memory_bytes = 60 * kMiB,
       .limits = {.max_sequences = 4, .max_step_tokens = 2000, .max_context_tokens = 4096},
       .backend = {.kind = BackendKind::kHost, .host_threads = 1},
       .prefix = {.checkpoints = CheckpointPolicy::None()}});
  const SequenceId first = Allocate(1500).id;
  RunNumbered(Append(first, 1500), 0);
  ASSERT_TRUE(cache_->FreeSequence(first).ok());
  const Admission again = Allocate(1500);
  ASSERT_EQ(again.match.matched, 1280);
  ASSERT_GT(again.match.refed, 0);
  ASSERT_LT(again.match.refed, again.match.matched);
  RunNumbered(Append(again.id, 10), 0);
  EXPECT_EQ(Read(9), [] {
    std::vector<int32_t> numbers(kWindow);
    for (int32_t i = 0; i < 10; ++i) numbers[kWindow - 10 + i] = 1 + i;
    return numbers;
  }());
}

}  // namespace
}  // namespace terrace::testing
