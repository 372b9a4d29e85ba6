// The seven checks of a cache of this kind (examples/seven_checks.h), on every backend that the
// machine has.

#include "examples/seven_checks.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/golden.h"

namespace terrace::testing {
namespace {

using namespace examples;  // NOLINT: what is tested

void ExpectPasses(Check check) {
  for (const BackendKind kind : {BackendKind::kHost, BackendKind::kCuda}) {
    if (!MakeBackend({.kind = kind}).ok()) {
      ASSERT_EQ(kind, BackendKind::kCuda);
      continue;
    }
    const absl::StatusOr<CheckResult> result = check({.kind = kind});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(result->passed()) << result->what << ": " << result->figure << ", at least "
                                  << result->at_least << " " << result->failed;
  }
}

TEST(SevenChecksTest, RowsSurviveFp8) { ExpectPasses(CheckFp8RoundTrip); }
TEST(SevenChecksTest, RowsSurviveNvfp4) { ExpectPasses(CheckNvfp4RoundTrip); }
TEST(SevenChecksTest, SlotsReadWhatWasWrittenAndSlotsPastTheEndAreIgnored) {
  ExpectPasses(CheckPagedSlots);
}
TEST(SevenChecksTest, RotationAfterDequantizationIsTheDirectRotation) {
  ExpectPasses(CheckRopeAfterLoad);
}
TEST(SevenChecksTest, CausalAttentionOverFp8AgreesWithBf16) { ExpectPasses(CheckCausalAttention); }
TEST(SevenChecksTest, CsaStoresEveryFourthToken) { ExpectPasses(CheckCsa); }
TEST(SevenChecksTest, HcaStoresEvery128thToken) { ExpectPasses(CheckHca); }

// A check must be able to fail: attention over the wrong rows is not close.
TEST(SevenChecksTest, TheMeasureTellsWrongRowsFromRightOnes) {
  const Request request = RandomRequest(160, 150, 1, 9);
  const std::vector<float> right = ReferenceAttention(request, 4, 0);
  EXPECT_LT(WorstRowCosine(ReferenceAttention(request, 8, 0), right), 0.9);
  Request other = request;
  other.latents = RandomRows(160, 10);
  EXPECT_LT(WorstRowCosine(ReferenceAttention(other, 4, 0), right), 0.5);
  EXPECT_EQ(WorstRowCosine({}, right), 0);
}

// A bf16 cache changes nothing: the attention over it is the attention over the rows in memory.
TEST(SevenChecksTest, AttentionOverABf16CacheIsExact) {
  const std::vector<Request> requests = {RandomRequest(150, 101, 2, 51),
                                         RandomRequest(40, 1, 2, 52)};
  auto served = Serve(OneLayer(1, RowFormat::kBf16), requests, {.drafts = 3}, {});
  ASSERT_TRUE(served.ok()) << served.status();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ((*served)[i].attention, ReferenceAttention(requests[i], 1, 0));
  }
}

class GoldenAttention : public GoldenTest {
 protected:
  // The worst cosine between the golden output and attention over a window of `format`.
  absl::StatusOr<double> WorstCosine(RowFormat format) {
    const NpyArray q = Golden("attention/q");      // [tokens, heads, 512]
    const NpyArray kv = Golden("attention/kv");    // [tokens, 512]
    const NpyArray out = Golden("attention/out");  // [tokens, heads, 512]
    const int64_t tokens = q.shape.at(0);
    const int64_t heads = q.shape.at(1);
    std::vector<uint16_t> queries(q.data<uint16_t>(),
                                  q.data<uint16_t>() + tokens * heads * kLatentChannels);
    Rotate(absl::MakeSpan(queries), MakeRopeTable(tokens, kWindowRope), heads);

    auto cache = SmallCache(OneLayer(0, format), kRoundTripLimits, {});
    if (!cache.ok()) return cache.status();
    const std::vector<uint16_t> latents(kv.data<uint16_t>(),
                                        kv.data<uint16_t>() + tokens * kLatentChannels);
    const bool rotate = !(*cache)->capacity().model.pools[0].planes[0].rope_before_store;
    auto rows = ThroughTheWindow(**cache, latents, rotate);
    if (!rows.ok()) return rows.status();

    double worst = 1;
    for (int64_t t = 0; t < tokens; ++t) {
      const auto visible = absl::MakeConstSpan(*rows).first((t + 1) * kLatentChannels);
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t at = (t * heads + head) * kLatentChannels;
        const std::vector<float> attention =
            Attend(absl::MakeConstSpan(queries).subspan(at, kLatentChannels), visible);
        worst = std::min(
            worst, Cosine(attention, absl::MakeConstSpan(out.data<float>() + at, kLatentChannels)));
      }
    }
    return worst;
  }
};

TEST_F(GoldenAttention, OverABf16CacheMatches) {
  const absl::StatusOr<double> worst = WorstCosine(RowFormat::kBf16);
  ASSERT_TRUE(worst.ok()) << worst.status();
  EXPECT_GT(*worst, 1 - 1e-9);
}

TEST_F(GoldenAttention, OverAnFp8CacheIsClose) {
  const absl::StatusOr<double> worst = WorstCosine(RowFormat::kFp8PerToken);
  ASSERT_TRUE(worst.ok()) << worst.status();
  EXPECT_GE(*worst, 0.98);
}

TEST_F(GoldenAttention, OverAFlashMlaCacheIsClose) {
  const absl::StatusOr<double> worst = WorstCosine(RowFormat::kFlashMlaV4);
  ASSERT_TRUE(worst.ok()) << worst.status();
  EXPECT_GE(*worst, 0.98);
}

}  // namespace
}  // namespace terrace::testing
