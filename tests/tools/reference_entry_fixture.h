// Entries of every kind of plane, and what a store would hold of them.

#ifndef TERRACE_TESTS_TOOLS_REFERENCE_ENTRY_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_REFERENCE_ENTRY_FIXTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_codec.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "tests/support/row_formats.h"
#include "tools/terrace/contents/compressor_weights.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/verify/reference_entry.h"

namespace terrace::testing {

using tools::CompressorWeights;
using tools::ContentPlane;
using tools::ContentSeed;
using tools::EntryError;
using tools::ErrorOf;
using tools::MakeReference;
using tools::PooledTokens;
using tools::ReferenceEntry;

// A plane of a layer, and the entry that a test is about.
struct EntryCase {
  std::string name;
  ContentPlane plane;
  int32_t entry;
  std::vector<RowFormat> formats;
};

class ReferenceEntryFixture : public ::testing::Test {
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

  static std::vector<EntryCase> Cases() {
    return {{"csa latent", {1, 0, 0}, 5, LatentFormats()},
            {"csa latent, first entry", {1, 0, 0}, 0, LatentFormats()},
            {"csa indexer", {1, 0, 1}, 5, IndexerFormats()},
            {"hca latent", {2, 0, 0}, 3, LatentFormats()}};
  }

  // Seeds of the raw rows that the case's entry pools, if the tokens have that key.
  static std::vector<uint64_t> Seeds(const EntryCase& test, uint64_t key = 7) {
    const int32_t ratio = Weights().Of(test.plane)->ratio;
    std::vector<uint64_t> seeds(PooledTokens(ratio, test.entry));
    int32_t position = (test.entry + 1) * ratio - static_cast<int32_t>(seeds.size());
    for (uint64_t& seed : seeds) seed = ContentSeed(key, position++, test.plane);
    return seeds;
  }

  static ReferenceEntry Reference(const EntryCase& test, const std::vector<uint64_t>& seeds,
                                  int32_t position) {
    float rope[kRopeChannels];
    FillRopeRow(RopeFrequencies(kCompressedRope), position, rope);
    ReferenceEntry entry;
    MakeReference(*Weights().Of(test.plane), seeds, rope, &entry);
    return entry;
  }
  static ReferenceEntry Reference(const EntryCase& test, const std::vector<uint64_t>& seeds) {
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
  static void ExpectFound(const EntryCase& test, const ReferenceEntry& right,
                          const ReferenceEntry& wrong, double least) {
    for (const RowFormat format : test.formats) {
      EXPECT_GT(Error(format, right, wrong), least) << RowFormatName(format);
    }
  }
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_REFERENCE_ENTRY_FIXTURE_H_
