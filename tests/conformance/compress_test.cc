// The compressor over every backend against one pass over the same tokens, whatever the chunks,
// drafts, rejections, forks and resumes. compress_golden_test.cc holds it against golden vectors.

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/compress_driver.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/compress_traffic.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;
// Sanitizers slow it twentyfold.
#ifdef TERRACE_SANITIZED
constexpr int kSeeds = 2;
#else
constexpr int kSeeds = 8;
#endif

TEST_P(CompressTest, AnyTrafficMakesTheBytesOfOnePass) {
  CompressTraffic::Figures sum;
  for (int seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    CompressOptions options;
    options.rows = seed % 4 == 3 ? FloatType::kBf16 : FloatType::kFloat32;
    options.latent = seed % 2 == 0 ? RowFormat::kBf16 : RowFormat::kFlashMlaV4;
    options.indexer = seed % 2 == 0 ? RowFormat::kIndexerFp8 : RowFormat::kIndexerMxfp4;
    options.in_flight_plans = seed % 3;
    options.layout = seed == 5 ? PoolLayout::kLayerMajor : PoolLayout::kBlockMajor;
    CompressTraffic traffic(options, backend_, seed);
    for (int i = 0; i < 150; ++i) {
      traffic.Act();
      ASSERT_FALSE(HasFatalFailure()) << "act " << i;
      traffic.ledger().CheckInvariants();
    }
    traffic.FreeAll();
    ASSERT_FALSE(HasFatalFailure());
    traffic.ledger().CheckInvariants();
    const CompressTraffic::Figures& figures = traffic.figures();
    sum.steps += figures.steps;
    sum.empty_steps += figures.empty_steps;
    sum.rejections += figures.rejections;
    sum.over_csa_border += figures.over_csa_border;
    sum.over_hca_border += figures.over_hca_border;
    sum.forks += figures.forks;
    sum.late_commits += figures.late_commits;
    sum.resumed += figures.resumed;
    sum.refed += figures.refed;
    sum.snapshots_in_step += figures.snapshots_in_step;
    sum.snapshots_of_settled += figures.snapshots_of_settled;
    sum.checks += figures.checks;
  }
  // What happened is what the name says.
  if (kSeeds < 8) return;
  EXPECT_GT(sum.steps, 400);
  EXPECT_GT(sum.empty_steps, 20);
  EXPECT_GT(sum.rejections, 100);
  EXPECT_GT(sum.over_csa_border, 50);
  EXPECT_GT(sum.over_hca_border, 1);
  EXPECT_GT(sum.forks, 30);
  EXPECT_GT(sum.late_commits, 20);
  EXPECT_GT(sum.resumed, 5000);
  EXPECT_GT(sum.snapshots_in_step, 20);
  EXPECT_GT(sum.snapshots_of_settled, 1);
  EXPECT_GT(sum.checks, 150);
}

// The ids of the tokens before 256 become final after they were fed: with the drafts that they
// were, or `late` tokens on. The next plan takes the checkpoint, of a sequence that may be
// another's by then.
TEST_P(CompressTest, ACheckpointOfIdsThatCameLateResumesExactly) {
  std::mt19937_64 random(8);
  CompressDriver reference({.prefix_reuse = false}, backend_);
  for (const int late : {-1, 0, 4, 12}) {
    for (const bool index_is_taken : {false, true}) {
      SCOPED_TRACE(absl::StrCat("late ", late, index_is_taken ? ", sequence index taken" : ""));
      CompressDriver driver({}, backend_);
      Ledger& ledger = driver.ledger();
      const std::vector<int32_t> ids = RandomIds(random, 300);
      const auto feed = [&](SequenceId id, const std::vector<int32_t>& of, int tokens,
                            int drafts = 0) {
        const auto plan = ledger.Append({{{.id = id, .tokens = tokens, .drafts = drafts}}});
        ASSERT_TRUE(plan.ok()) << plan.status();
        driver.Run(*plan, {of});
      };
      const std::vector<int32_t> prompt(ids.begin(), ids.begin() + 252);
      const SequenceId first = ledger.AllocateSequence({.tokens = prompt})->id;
      feed(first, ids, 251);
      const int fed = late < 0 ? 257 : 256 + late;
      if (late < 0) {
        feed(first, ids, 6, /*drafts=*/5);
      } else {
        for (int i = 251; i < fed; ++i) feed(first, ids, 1);
      }
      ASSERT_TRUE(ledger.Commit(first, absl::MakeConstSpan(ids).subspan(252, fed - 252)).ok());
      if (index_is_taken) {
        ASSERT_TRUE(ledger.FreeSequence(first).ok());
        const std::vector<int32_t> others = RandomIds(random, 40);
        const SequenceId other = ledger.AllocateSequence({.tokens = others})->id;
        EXPECT_EQ(other.index, first.index);
        feed(other, others, 40);
      } else {
        feed(first, ids, 1);
      }
      const auto second = ledger.AllocateSequence({.tokens = ids});
      ASSERT_TRUE(second.ok()) << second.status();
      EXPECT_EQ(second->match.matched, 256);
      EXPECT_EQ(second->match.resumed, late > 4 ? 0 : 256);
      feed(second->id, ids, 300 - second->length);
      EXPECT_EQ(driver.Entries(second->id.index, 300), reference.OnePass(ids));
    }
  }
}

// A caller may compress some layers by itself, and a model may have both rules.
TEST_P(CompressTest, EntriesOfTheCallersOwnAreWrittenBesideCompressedOnes) {
  constexpr int kTokens = 700;
  std::mt19937_64 random(9);
  const std::vector<int32_t> ids = RandomIds(random, kTokens);
  for (const bool strided : {false, true}) {
    SCOPED_TRACE(strided ? "strided" : "pooled");
    std::vector<uint16_t> written;  // entry by entry
    std::deque<BackendArray<uint16_t>> arrays;
    CompressOptions options{.strided_hca = strided};
    options.make_entries = [&](CompressDriver& driver) {
      constexpr int kCsa = CompressDriver::kCsaLayer;
      constexpr int kHca = CompressDriver::kHcaLayer;
      const int count = driver.store().step().num_entry_rows[driver.FullPool(kHca)];
      std::vector<uint16_t> rows(count * kLatentChannels);
      for (uint16_t& number : rows) number = Bf16FromFloat(static_cast<float>(random() % 1000));
      written.insert(written.end(), rows.begin(), rows.end());
      arrays.emplace_back(driver.backend(), rows);
      absl::Status status = driver.store().Compress(kCsa, driver.Inputs(kCsa), Stream{});
      EXPECT_TRUE(status.ok()) << status;
      status = driver.store().Write(
          kHca, {.entries = {.data = arrays.back().data(), .rotated = true}}, Stream{});
      EXPECT_TRUE(status.ok()) << status;
      if (!strided) return;
      status = driver.store().Compress(kHca, driver.Inputs(kHca), Stream{});
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    };
    CompressDriver driver(options, backend_);
    const SequenceId id = driver.ledger().AllocateSequence({.tokens = ids})->id;
    for (const int32_t tokens : {1, 126, 1, 1, 400, 3, 168}) {
      const auto plan = driver.ledger().Append({{{.id = id, .tokens = tokens}}});
      ASSERT_TRUE(plan.ok()) << plan.status();
      driver.Run(*plan, {ids});
    }
    CompressDriver reference({}, backend_);
    std::vector<uint8_t> expected = reference.OnePass(ids);
    expected.resize(expected.size() - kTokens / 128 * kLatentChannels * 2);  // but for the HCA ones
    EXPECT_EQ(written.size(), (strided ? 6 : 5) * kLatentChannels);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(written.data());
    expected.insert(expected.end(), bytes, bytes + written.size() * 2);
    EXPECT_EQ(driver.Entries(id.index, kTokens), expected);
  }
}

TEST_P(CompressTest, AModelWithoutAWindowResumesExactly) {
  std::mt19937_64 random(10);
  CompressDriver driver({.window = false}, backend_);
  CompressDriver reference({.prefix_reuse = false}, backend_);
  std::vector<int32_t> ids = RandomIds(random, 600);
  EXPECT_EQ(driver.OnePass(ids), reference.OnePass(ids));
  for (const int common : {600, 300}) {
    std::generate(ids.begin() + common, ids.end(), [&] { return static_cast<int>(random() % 99); });
    const auto admission = driver.ledger().AllocateSequence({.tokens = ids});
    ASSERT_TRUE(admission.ok()) << admission.status();
    EXPECT_EQ(admission->match.matched, common / 256 * 256);
    EXPECT_EQ(admission->match.refed, 128);
    const auto plan =
        driver.ledger().Append({{{.id = admission->id, .tokens = 600 - admission->length}}});
    ASSERT_TRUE(plan.ok()) << plan.status();
    driver.Run(*plan, {ids});
    EXPECT_EQ(driver.Entries(admission->id.index, 600), reference.OnePass(ids));
  }
}

TEST_P(CompressTest, WhatAFreedSequenceLeftNeverShows) {
  std::mt19937_64 random(5);
  CompressDriver driver({.prefix_reuse = false}, backend_);
  driver.OnePass(RandomIds(random, 700));
  driver.OnePass(RandomIds(random, 90));
  const std::vector<int32_t> ids = RandomIds(random, 270);
  CompressDriver fresh({.prefix_reuse = false}, backend_);
  EXPECT_EQ(driver.OnePass(ids), fresh.OnePass(ids));
}

TEST_P(CompressTest, TwoRunsGiveTheSameBits) {
  std::mt19937_64 random(6);
  const std::vector<int32_t> ids = RandomIds(random, 1000);
  CompressDriver one({}, backend_);
  CompressDriver two({}, backend_);
  EXPECT_EQ(one.OnePass(ids), two.OnePass(ids));
}

// Chunks that read rows of the rings which they overwrite, launched for as many rows as sequences,
// so that sequences share a block.
TEST_P(CompressTest, ShortChunksOfAnyLengthMakeTheBytesOfOnePass) {
  std::mt19937_64 random(11);
  const std::vector<int32_t> ids = RandomIds(random, 300);
  for (const int32_t max_drafts : {0, kCompressDrafts}) {
    SCOPED_TRACE(absl::StrCat(max_drafts, " drafts"));
    constexpr int32_t kCapacity = 6;
    CompressDriver chunks(
        {.prefix_reuse = false,
         .max_drafts = max_drafts,
         .make_entries = [](CompressDriver& driver) { driver.Compress({}, kCapacity); }},
        backend_);
    const auto admission = chunks.ledger().AllocateSequence({.tokens = ids});
    ASSERT_TRUE(admission.ok()) << admission.status();
    const int32_t tokens = static_cast<int32_t>(ids.size());
    for (int32_t fed = 0; fed < tokens;) {
      const int32_t count = std::min(tokens - fed, static_cast<int32_t>(1 + random() % kCapacity));
      const auto plan = chunks.ledger().Append({{{.id = admission->id, .tokens = count}}});
      ASSERT_TRUE(plan.ok()) << plan.status();
      chunks.Run(*plan, {ids});
      fed += count;
    }
    CompressDriver at_once({.prefix_reuse = false, .max_drafts = max_drafts}, backend_);
    EXPECT_EQ(chunks.Entries(admission->id.index, tokens), at_once.OnePass(ids));
  }
}

TEST(CompressBackendsTest, HostAndCudaStoreTheSameBytes) {
  const auto cuda = BackendOf(BackendKind::kCuda);
  if (!cuda.ok()) GTEST_SKIP() << cuda.status();
  std::mt19937_64 random(7);
  const std::pair<RowFormat, RowFormat> formats[] = {
      {RowFormat::kBf16, RowFormat::kIndexerFp8},
      {RowFormat::kFlashMlaV4, RowFormat::kIndexerMxfp4},
      {RowFormat::kMxfp8V41, RowFormat::kIndexerFp8},
      {RowFormat::kNvfp4, RowFormat::kIndexerMxfp4},
      {RowFormat::kFp8PerToken, RowFormat::kIndexerFp8},
      {RowFormat::kMxfp8V41Il, RowFormat::kIndexerMxfp4},
      {RowFormat::kNvfp4V41Il, RowFormat::kIndexerMxfp4},
      {RowFormat::kFp8PerTensor, RowFormat::kIndexerFp8},
      {RowFormat::kNvfp4Rope, RowFormat::kIndexerFp8}};
  for (const auto& [latent, indexer] : formats) {
    for (const FloatType rows : {FloatType::kFloat32, FloatType::kBf16}) {
      SCOPED_TRACE(absl::StrCat("format ", static_cast<int>(latent)));
      const CompressOptions options = {
          .latent = latent, .indexer = indexer, .rows = rows, .infinite_token = 300};
      const std::vector<int32_t> ids = RandomIds(random, 700);
      CompressDriver on_host(options, *BackendOf(BackendKind::kHost));
      CompressDriver on_device(options, *BackendOf(BackendKind::kCuda));
      EXPECT_EQ(on_host.OnePass(ids), on_device.OnePass(ids));
      const Counters host = on_host.backend().ReadCounters();
      const Counters device = on_device.backend().ReadCounters();
      EXPECT_EQ(host.nonfinite_values, device.nonfinite_values);
      if (rows == FloatType::kFloat32) {
        EXPECT_GT(host.nonfinite_values, 0u);
      }
      EXPECT_EQ(host.skipped_slots, device.skipped_slots);
    }
  }
}

TEST_P(CompressTest, BadInputIsAnErrorThatNamesIt) {
  CompressDriver driver({}, backend_);
  Store& store = driver.store();
  constexpr int kCsa = CompressDriver::kCsaLayer;
  constexpr int kHca = CompressDriver::kHcaLayer;
  EXPECT_EQ(store.Compress(kCsa, driver.Inputs(kCsa), Stream{}).code(),
            absl::StatusCode::kFailedPrecondition);  // no step has begun
  driver.OnePass({1, 2, 3, 4, 5});

  const auto message = [&](int layer, const std::function<void(CompressInputs&)>& change) {
    CompressInputs inputs = driver.Inputs(layer);
    change(inputs);
    const absl::Status status = store.Compress(layer, inputs, Stream{});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  using In = CompressInputs;
  EXPECT_THAT(message(0, [](In&) {}), HasSubstr("layer 0 has no state pool"));
  EXPECT_THAT(message(3, [](In&) {}), HasSubstr("layer 3 is not in this store"));
  EXPECT_THAT(message(kCsa, [](In& in) { in.latent.kv = nullptr; }), HasSubstr("latent is null"));
  EXPECT_THAT(message(kCsa, [](In& in) { in.indexer = {}; }), HasSubstr("indexer is null"));
  EXPECT_THAT(message(kHca, [&](In& in) { in.indexer = driver.Inputs(kCsa).indexer; }),
              HasSubstr("pool hca has no indexer plane"));
  EXPECT_THAT(message(kCsa, [](In& in) { ++in.latent.ape; }), HasSubstr("16-byte aligned"));
  EXPECT_THAT(message(kCsa, [](In& in) { in.latent.kv_pitch = 1020; }),
              HasSubstr("pitch of its latent is 1020, not a multiple of 4 in 1024.."));
  EXPECT_THAT(message(kHca, [](In& in) { in.latent.score_pitch = 514; }), HasSubstr("514"));
  EXPECT_THAT(message(kHca, [](In& in) { in.eps = NAN; }), HasSubstr("eps"));
  EXPECT_THAT(message(kHca, [](In& in) { in.rows = static_cast<FloatType>(2); }),
              HasSubstr("unknown type of number 2"));
  EXPECT_THAT(message(kHca, [](In& in) { in.capacity = 3; }),
              HasSubstr("capacity is 3, not in 5..1100"));
}

INSTANTIATE_TEST_SUITE_P(Backends, CompressTest, kEveryBackend, NameOfBackend);

}  // namespace
}  // namespace terrace::testing
