// The reference that compressed entries are held against: that it lets right entries pass, and
// nothing else.

#include "tools/terrace/verify/reference_entry.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_codec.h"
#include "terrace/model.h"
#include "tools/terrace/contents/compressor_weights.h"

namespace terrace::testing {
namespace {

using tools::CompressorWeights;
using tools::ContentPlane;
using tools::ContentSeed;
using tools::EntryError;
using tools::ErrorOf;
using tools::MakeReference;
using tools::PooledTokens;
using tools::ReferenceEntry;

// A plane of a layer, and the entry that a test is about.
struct Case {
  std::string name;
  ContentPlane plane;
  int32_t entry;
  std::vector<RowFormat> formats;
};

const RowFormat kLatents[] = {RowFormat::kBf16, RowFormat::kFp8PerToken, RowFormat::kNvfp4,
                              RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41};
const RowFormat kIndexers[] = {RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4};

class ReferenceEntryTest : public ::testing::Test {
 protected:
  // Pools: swa, csa, hca.
  static const CompressorWeights& Weights() {
    static const CompressorWeights weights = [] {
      const auto model = MakeModel({.ratios = {0, 4, 128}, .state = true});
      EXPECT_TRUE(model.ok()) << model.status();
      return CompressorWeights(*model, {0, 3}, 1);
    }();
    return weights;
  }

  static std::vector<Case> Cases() {
    return {{"csa latent", {1, 0, 0}, 5, {std::begin(kLatents), std::end(kLatents)}},
            {"csa latent, first entry", {1, 0, 0}, 0, {std::begin(kLatents), std::end(kLatents)}},
            {"csa indexer", {1, 0, 1}, 5, {std::begin(kIndexers), std::end(kIndexers)}},
            {"hca latent", {2, 0, 0}, 3, {std::begin(kLatents), std::end(kLatents)}}};
  }

  // Seeds of the raw rows that the case's entry pools, if the tokens have that key.
  static std::vector<uint64_t> Seeds(const Case& test, uint64_t key = 7) {
    const int32_t ratio = Weights().Of(test.plane)->ratio;
    std::vector<uint64_t> seeds(PooledTokens(ratio, test.entry));
    int32_t position = (test.entry + 1) * ratio - static_cast<int32_t>(seeds.size());
    for (uint64_t& seed : seeds) seed = ContentSeed(key, position++, test.plane);
    return seeds;
  }

  static ReferenceEntry Reference(const Case& test, const std::vector<uint64_t>& seeds,
                                  int32_t position) {
    float rope[kRopeChannels];
    FillRopeRow(RopeFrequencies(kRopeBaseCompressed, YarnScaling{}), position, rope);
    ReferenceEntry entry;
    MakeReference(*Weights().Of(test.plane), seeds, rope, &entry);
    return entry;
  }
  static ReferenceEntry Reference(const Case& test, const std::vector<uint64_t>& seeds) {
    return Reference(test, seeds, test.entry * Weights().Of(test.plane)->ratio);
  }

  // How far from `right` what a store would hold of `made` is.
  static double Error(RowFormat format, const ReferenceEntry& right, const ReferenceEntry& made) {
    return DispatchRowFormat(format, [&]<RowFormat F>() {
      constexpr RowLayout kLayout = LayoutOf(F);
      alignas(64) uint16_t row[kLayout.channels];
      alignas(64) uint8_t data[kLayout.data_bytes];
      alignas(64) uint8_t scale[kLayout.scale_bytes + 1];
      for (int c = 0; c < kLayout.channels; ++c) {
        row[c] = Bf16FromFloat(static_cast<float>(made.values[c]));
      }
      EncodeRow<F>(row, /*rope=*/nullptr, /*global_scale=*/1.0f, data, scale);
      DecodeRow<F>(data, scale, /*rope=*/nullptr, /*global_scale=*/1.0f, row);
      const EntryError error = ErrorOf(F, right, row);
      EXPECT_EQ(error.num_channels > 0, error.largest > 1);
      return error.largest;
    });
  }

  // That stores of `wrong` are farther off than `least` times what is tolerated.
  static void ExpectFound(const Case& test, const ReferenceEntry& right,
                          const ReferenceEntry& wrong, double least) {
    for (const RowFormat format : test.formats) {
      EXPECT_GT(Error(format, right, wrong), least) << RowFormatName(format);
    }
  }
};

TEST_F(ReferenceEntryTest, ARightEntryPassesAndUsesMostOfWhatIsTolerated) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    const ReferenceEntry right = Reference(test, Seeds(test));
    for (const RowFormat format : test.formats) {
      const double error = Error(format, right, right);
      EXPECT_LE(error, 1) << RowFormatName(format);
      EXPECT_GT(error, 0.3) << RowFormatName(format);
    }
  }
}

TEST_F(ReferenceEntryTest, OneTokenOfAnotherSequenceIsFound) {
  for (const Case& test : Cases()) {
    const std::vector<uint64_t> seeds = Seeds(test);
    const std::vector<uint64_t> others = Seeds(test, /*key=*/8);
    const ReferenceEntry right = Reference(test, seeds);
    for (size_t i = 0; i < seeds.size(); ++i) {
      SCOPED_TRACE(test.name + ", token " + std::to_string(i));
      std::vector<uint64_t> wrong = seeds;
      wrong[i] = others[i];
      ExpectFound(test, right, Reference(test, wrong), 3);
    }
  }
}

TEST_F(ReferenceEntryTest, RejectedDraftsInTheWindowAreFound) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    const std::vector<uint64_t> seeds = Seeds(test);
    const std::vector<uint64_t> rejected = Seeds(test, /*key=*/9);
    std::vector<uint64_t> wrong = seeds;
    std::copy(rejected.end() - 3, rejected.end(), wrong.end() - 3);
    ExpectFound(test, Reference(test, seeds), Reference(test, wrong), 5);
  }
}

TEST_F(ReferenceEntryTest, AStateThatLostTheTokensBeforeIsFound) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    const std::vector<uint64_t> seeds = Seeds(test);
    if (seeds.size() == 4) continue;  // the first entry has none before
    const std::vector<uint64_t> rest(seeds.begin() + 4, seeds.end());
    ExpectFound(test, Reference(test, seeds), Reference(test, rest), 5);
  }
}

TEST_F(ReferenceEntryTest, AnEntryOfAnotherPlaceOrLayerIsFound) {
  for (const Case& test : Cases()) {
    SCOPED_TRACE(test.name);
    const ReferenceEntry right = Reference(test, Seeds(test));
    ExpectFound(test, right, Reference(test, Seeds(test, 8)), 5);
    // Rotated for the next entry.
    const int32_t next = (test.entry + 1) * Weights().Of(test.plane)->ratio;
    ExpectFound(test, right, Reference(test, Seeds(test), next), 5);
  }
}

TEST_F(ReferenceEntryTest, ARowThatIsNoNumberIsFound) {
  const Case test = Cases()[0];
  const ReferenceEntry right = Reference(test, Seeds(test));
  std::vector<uint16_t> row(kLatentChannels);
  for (int c = 0; c < kLatentChannels; ++c) {
    row[c] = Bf16FromFloat(static_cast<float>(right.values[c]));
  }
  EXPECT_EQ(ErrorOf(RowFormat::kBf16, right, row.data()).num_channels, 0);
  row[99] = 0x7FC0;
  const EntryError error = ErrorOf(RowFormat::kBf16, right, row.data());
  EXPECT_EQ(error.num_channels, 1);
  EXPECT_EQ(error.channel, 99);
}

}  // namespace
}  // namespace terrace::testing
