// What Compress stores against what another implementation's cache holds (tests/golden/outside),
// over every backend and in every format.

#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/row_codec.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/golden_layer.h"
#include "tests/support/row_formats.h"

namespace terrace::testing {
namespace {

// Its own tables, so that only the order of float32 sums differs.
std::vector<float> Table() {
  const NpyArray table = Golden("outside/rope_compress");
  return {table.data<float>(), table.data<float>() + table.bytes.size() / sizeof(float)};
}

// float32 entries as a store of `format` gives them back.
std::vector<uint16_t> Stored(RowFormat format, const NpyArray& entries) {
  const RowLayout layout = LayoutOf(format);
  std::vector<uint16_t> rows(entries.bytes.size() / sizeof(float));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = Bf16FromFloat(entries.data<float>()[i]);
  DispatchRowFormat(format, [&]<RowFormat F>() {
    std::vector<uint8_t> data(layout.data_bytes), scale(layout.scale_bytes);
    for (size_t at = 0; at < rows.size(); at += layout.channels) {
      EncodeRow<F>(rows.data() + at, nullptr, 1, data.data(), scale.data());
      DecodeRow<F>(data.data(), scale.data(), nullptr, 1, rows.data() + at);
    }
  });
  return rows;
}

// A value that falls on the other side of a rounding is one code off.
void ExpectStored(RowFormat format, const std::vector<uint16_t>& rows, const std::string& folder,
                  bool rotated = true) {
  const std::vector<uint16_t> expected =
      Stored(format, Golden(folder + (rotated ? "/entries" : "/normed")));
  ASSERT_EQ(rows.size(), expected.size());
  const RowLayout layout = LayoutOf(format);
  const double steps[] = {kBf16Step, kE4m3Step, kE2m1Step};
  const double least[] = {1e-6, kE4m3Least, kE2m1Least};
  const auto code = static_cast<int>(layout.code);
  // fp8_per_tensor has the scale 1, whatever a row's largest value is.
  const double floor = format == RowFormat::kFp8PerTensor ? 0x1p-9 : least[code];
  ExpectDecoded(rows, expected.data(), layout.channels, steps[code], floor);
}

class CompressOutsideTest : public CompressTest {};

TEST_P(CompressOutsideTest, CsaEntriesAndKeysOfEveryFormatAreThoseOfTheOtherCache) {
  for (const RowFormat format : LatentFormats()) {
    for (const RowFormat keys : IndexerFormats()) {
      SCOPED_TRACE(NameOf(format) + ", " + NameOf(keys));
      GoldenLayer layer(backend_, 4, format, keys, Table());
      layer.Compress({.latent = layer.Plane("outside/csa_latent"),
                      .indexer = layer.Plane("outside/csa_indexer"),
                      .norm_weight = FloatType::kFloat32,
                      .hadamard = false},
                     64);
      const bool rotated = format != RowFormat::kFp8PerToken && format != RowFormat::kNvfp4;
      ExpectStored(format, layer.Rows(PlaneKind::kLatent, 16, kLatentChannels),
                   "outside/csa_latent", rotated);
      ExpectStored(keys, layer.Rows(PlaneKind::kIndexer, 16, kIndexerChannels),
                   "outside/csa_indexer");
    }
  }
}

TEST_P(CompressOutsideTest, HcaEntriesOfEveryFormatAreThoseOfTheOtherCache) {
  for (const RowFormat format : LatentFormats()) {
    SCOPED_TRACE(NameOf(format));
    GoldenLayer layer(backend_, 128, format, RowFormat::kIndexerFp8, Table());
    layer.Compress(
        {.latent = layer.Plane("outside/hca_latent"), .norm_weight = FloatType::kFloat32}, 256);
    const bool rotated = format != RowFormat::kFp8PerToken && format != RowFormat::kNvfp4;
    ExpectStored(format, layer.Rows(PlaneKind::kLatent, 2, kLatentChannels), "outside/hca_latent",
                 rotated);
  }
}

TEST(OutsideWindowTest, WindowRowsRotateAsTheOtherCacheHasThem) {
  const std::vector<float> table = Table();
  const NpyArray unrotated = Golden("outside/window/unrotated");
  const NpyArray rotated = Golden("outside/window/rotated");
  for (int64_t i = 0; i < unrotated.shape[0]; ++i) {
    std::vector<uint16_t> row(kLatentChannels);
    for (int c = 0; c < kLatentChannels; ++c) {
      row[c] = Bf16FromFloat(unrotated.data<float>()[i * kLatentChannels + c]);
    }
    uint16_t stored[kLatentChannels];
    EncodeRow<RowFormat::kBf16>(row.data(), table.data() + i * kRopeChannels, 1,
                                reinterpret_cast<uint8_t*>(stored), nullptr);
    for (int c = 0; c < kLatentChannels; ++c) {
      // It rotates before it rounds: both roundings, of either channel of the pair, may differ.
      const double partner = std::abs(FloatFromBf16(row[c ^ 1]));
      const double own = std::abs(FloatFromBf16(row[c]));
      EXPECT_NEAR(FloatFromBf16(stored[c]), rotated.data<float>()[i * kLatentChannels + c],
                  0x1p-7 * (own + partner))
          << "row " << i << ", channel " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, CompressOutsideTest, kEveryBackend, NameOfBackend);

}  // namespace
}  // namespace terrace::testing
