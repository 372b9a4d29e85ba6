// Every row format against the golden vectors, bit for bit, by each instruction set that the
// machine has, and packet by packet as the device does it.

#include "terrace/formats/row_codec.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tests/support/row_methods.h"

namespace terrace::testing {
namespace {

class RowCodecTest : public GoldenTest, public ::testing::WithParamInterface<Method> {
 protected:
  void SetUp() override {
    GoldenTest::SetUp();
    if (!IsSkipped() && !GetParam().available) {
      GTEST_SKIP() << "this processor has no " << GetParam().name;
    }
  }

  // Rows as pages, as the format lays them out, pages padded to page_bytes.
  std::vector<uint8_t> EncodePages(RowFormat format, const NpyArray& rows, const NpyArray* table,
                                   int64_t page_rows, int64_t page_bytes, float global_scale = 1) {
    const RowLayout layout = LayoutOf(format);
    const int64_t n = static_cast<int64_t>(rows.bytes.size()) / 2 / layout.channels;
    std::vector<uint8_t> pages((n + page_rows - 1) / page_rows * page_bytes);
    for (int64_t i = 0; i < n; ++i) {
      uint8_t* page = pages.data() + i / page_rows * page_bytes;
      const int64_t t = i % page_rows;
      bad_values_ +=
          GetParam().encode(format, rows.data<uint16_t>() + i * layout.channels,
                            table == nullptr ? nullptr : table->data<float>() + i * kRopeChannels,
                            global_scale, page + t * layout.data_stride(),
                            page + layout.scale_offset(page_rows) + t * layout.scale_stride());
    }
    return pages;
  }

  std::vector<uint16_t> DecodePages(RowFormat format, const NpyArray& pages, int64_t n,
                                    const NpyArray* table, int64_t page_rows,
                                    float global_scale = 1) {
    const RowLayout layout = LayoutOf(format);
    std::vector<uint16_t> rows(n * layout.channels);
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* page = pages.data<uint8_t>() + i / page_rows * pages.shape[1];
      const int64_t t = i % page_rows;
      GetParam().decode(format, page + t * layout.data_stride(),
                        page + layout.scale_offset(page_rows) + t * layout.scale_stride(),
                        table == nullptr ? nullptr : table->data<float>() + i * kRopeChannels,
                        global_scale, rows.data() + i * layout.channels);
    }
    return rows;
  }

  // Encodes `rows` and decodes the golden pages, and compares with both golden arrays.
  void ExpectGoldenPages(RowFormat format, const NpyArray& rows, const NpyArray* table,
                         int64_t page_rows, const NpyArray& pages, const NpyArray& dequant,
                         float global_scale = 1) {
    const std::vector<uint8_t> encoded =
        EncodePages(format, rows, table, page_rows, pages.shape[1], global_scale);
    ASSERT_EQ(encoded.size(), pages.bytes.size());
    EXPECT_TRUE(encoded == pages.bytes)
        << "first difference at byte " << FirstDifference(encoded, pages.bytes);
    const int64_t n = static_cast<int64_t>(rows.bytes.size()) / 2 / LayoutOf(format).channels;
    ExpectRows(DecodePages(format, pages, n, nullptr, page_rows, global_scale), dequant);
  }

  static void ExpectRows(const std::vector<uint16_t>& rows, const NpyArray& golden) {
    const uint16_t* expected = golden.data<uint16_t>();
    ASSERT_EQ(rows.size() * 2, golden.bytes.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(rows[i], expected[i]) << "channel " << i;
    }
  }

  static int64_t FirstDifference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
    return std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin();
  }

  int bad_values_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Methods, RowCodecTest, ::testing::ValuesIn(Methods()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(RowCodecTest, FlashMlaPagesOfEverySizeEqualTheGoldenOnes) {
  for (const auto& [folder, page_rows] :
       {std::pair("flashmla_v4_page64", 64), std::pair("flashmla_v4_page16", 16),
        std::pair("flashmla_v4_page2", 2), std::pair("flashmla_v4_page64_partial", 64)}) {
    SCOPED_TRACE(folder);
    const std::string name(folder);
    const NpyArray table = Golden(name + "/table");
    ExpectGoldenPages(RowFormat::kFlashMlaV4, Golden(name + "/kv"), &table, page_rows,
                      Golden(name + "/pages"), Golden(name + "/dequant"));
  }
  EXPECT_EQ(bad_values_, 0);
}

TEST_P(RowCodecTest, V41PagesEqualTheGoldenOnes) {
  for (const auto& [folder, format] : {std::pair("mxfp8_v41_page64", RowFormat::kMxfp8V41),
                                       std::pair("nvfp4_v41_page64", RowFormat::kNvfp4)}) {
    SCOPED_TRACE(folder);
    const std::string name(folder);
    const NpyArray table = Golden(name + "/table");
    ExpectGoldenPages(format, Golden(name + "/kv"), &table, 64, Golden(name + "/pages"),
                      Golden(name + "/dequant"));
  }
}

TEST_P(RowCodecTest, PagesOfExactArithmeticEqualTheGoldenOnes) {
  const NpyArray rows = Golden("mxfp8_v41_page64/kv");
  const NpyArray table = Golden("mxfp8_v41_page64/table");
  for (const std::string name : {"mxfp8_v41_il", "nvfp4_v41_il", "fp8_per_tensor", "nvfp4_rope"}) {
    SCOPED_TRACE(name);
    const RowFormat format = ParseRowFormat(name).value();
    ExpectGoldenPages(format, rows, &table, 64, Golden(name + "_page64/pages"),
                      Golden(name + "_page64/dequant"));
  }
}

TEST_P(RowCodecTest, InterleavedRowsHaveTheBytesOfSplitOnes) {
  const NpyArray rows = Golden("nvfp4_v41_page64/kv");
  const NpyArray table = Golden("nvfp4_v41_page64/table");
  const NpyArray split = Golden("nvfp4_v41_page64/pages");
  std::vector<uint8_t> expected;
  for (int64_t i = 0; i < rows.shape[0]; ++i) {
    const uint8_t* const page = split.data<uint8_t>() + i / 64 * split.shape[1];
    const uint8_t* const scales = page + int64_t{64} * 256;
    expected.insert(expected.end(), page + i % 64 * 256, page + i % 64 * 256 + 256);
    expected.insert(expected.end(), scales + i % 64 * 32, scales + i % 64 * 32 + 32);
  }
  EXPECT_EQ(EncodePages(RowFormat::kNvfp4V41Il, rows, &table, 64, int64_t{64} * 288), expected);
}

TEST_P(RowCodecTest, GlobalScalesOfExactArithmeticEqualTheGoldenOnes) {
  const NpyArray all = Golden("mxfp8_v41_page64/kv");
  const NpyArray table = Golden("mxfp8_v41_page64/table");
  const NpyArray rows = {
      all.type, {64, 512}, {all.bytes.begin(), all.bytes.begin() + int64_t{64} * 1024}};
  for (const auto& [name, folder] : {std::pair("fp8_per_tensor", "fp8_per_tensor_odd_scale"),
                                     std::pair("fp8_per_tensor", "fp8_per_tensor_tiny_scale"),
                                     std::pair("nvfp4_rope", "nvfp4_rope_odd_scale"),
                                     std::pair("nvfp4_v41_il", "nvfp4_v41_il_odd_scale")}) {
    SCOPED_TRACE(folder);
    const std::string at(folder);
    ExpectGoldenPages(ParseRowFormat(name).value(), rows, &table, 64, Golden(at + "/pages"),
                      Golden(at + "/dequant"), *Golden(at + "/global_scale").data<float>());
  }
}

TEST_P(RowCodecTest, IndexerPagesEqualTheGoldenOnes) {
  for (const auto& [folder, format] :
       {std::pair("indexer_fp8_page64", RowFormat::kIndexerFp8),
        std::pair("indexer_mxfp4_page64", RowFormat::kIndexerMxfp4)}) {
    SCOPED_TRACE(folder);
    const std::string name(folder);
    ExpectGoldenPages(format, Golden(name + "/k"), nullptr, 64, Golden(name + "/pages"),
                      Golden(name + "/dequant"));
  }
}

TEST_P(RowCodecTest, EveryBf16PatternAndEveryScaleEdgeEqualTheGoldenOnes) {
  for (const std::string folder : {"every_bf16", "scale_edges"}) {
    const NpyArray rows = Golden(folder + "/kv");
    for (const RowFormat format :
         {RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41, RowFormat::kIndexerFp8,
          RowFormat::kIndexerMxfp4, RowFormat::kNvfp4, RowFormat::kMxfp8V41Il,
          RowFormat::kNvfp4V41Il, RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope}) {
      const std::string name =
          folder + "/" + std::string(RowFormatName(format).data(), RowFormatName(format).size());
      SCOPED_TRACE(name);
      bad_values_ = 0;
      ExpectGoldenPages(format, rows, nullptr, 64, Golden(name + "_pages"),
                        Golden(name + "_dequant"));
      EXPECT_EQ(bad_values_, folder == "every_bf16" ? 256 : 0);
    }
  }
}

TEST_P(RowCodecTest, Fp8PerTokenEqualsTheGoldenVectorsAndRotatesAfterLoad) {
  constexpr RowFormat kFormat = RowFormat::kFp8PerToken;
  const NpyArray rows = Golden("fp8_per_token/kv");
  const NpyArray codes = Golden("fp8_per_token/codes");
  const NpyArray inverse_scales = Golden("fp8_per_token/inv_scale");
  const NpyArray table = Golden("fp8_per_token/table");
  const int64_t n = rows.shape[0];
  // One page of n rows is exactly all codes, then all scales.
  std::vector<uint8_t> expected = codes.bytes;
  expected.insert(expected.end(), inverse_scales.bytes.begin(), inverse_scales.bytes.end());
  const int64_t page_bytes = static_cast<int64_t>(expected.size());
  EXPECT_EQ(EncodePages(kFormat, rows, nullptr, n, page_bytes), expected);

  const NpyArray page = {NpyType::kUint8, {1, page_bytes}, expected};
  ExpectRows(DecodePages(kFormat, page, n, nullptr, n), Golden("fp8_per_token/dequant"));
  ExpectRows(DecodePages(kFormat, page, n, &table, n), Golden("fp8_per_token/dequant_rope"));
}

TEST_P(RowCodecTest, Nvfp4EqualsTheGoldenVectorsForEveryGlobalScale) {
  for (const std::string folder :
       {"nvfp4", "nvfp4_unit_scale", "nvfp4_odd_scale", "nvfp4_saturating"}) {
    SCOPED_TRACE(folder);
    const NpyArray rows = Golden(folder + "/kv");
    const NpyArray scales = Golden(folder + "/scales");
    const float global_scale = *Golden(folder + "/global_scale").data<float>();
    const int64_t n = rows.shape[0];
    std::vector<uint8_t> expected = Golden(folder + "/codes").bytes;
    expected.insert(expected.end(), scales.bytes.begin(), scales.bytes.end());
    const int64_t page_bytes = static_cast<int64_t>(expected.size());
    EXPECT_EQ(EncodePages(RowFormat::kNvfp4, rows, nullptr, n, page_bytes, global_scale), expected);
    const NpyArray page = {NpyType::kUint8, {1, page_bytes}, expected};
    ExpectRows(DecodePages(RowFormat::kNvfp4, page, n, nullptr, n, global_scale),
               Golden(folder + "/dequant"));
  }
}

TEST_P(RowCodecTest, Bf16RowsAreRotatedAndSanitizedAndOtherwiseKept) {
  const NpyArray rows = Golden("every_bf16/kv");
  const std::vector<uint8_t> pages = EncodePages(RowFormat::kBf16, rows, nullptr, 64, 64 * 1024);
  EXPECT_EQ(bad_values_, 256);
  std::vector<uint16_t> expected(rows.data<uint16_t>(), rows.data<uint16_t>() + 65536);
  for (int i = 0; i < 65536; i += 512) SanitizeBf16<512>(expected.data() + i);
  EXPECT_EQ(std::memcmp(pages.data(), expected.data(), pages.size()), 0);

  // The RoPE part of flashmla_v4 is bf16 too: rotated rows agree there.
  const NpyArray kv = Golden("flashmla_v4_page64/kv");
  const NpyArray table = Golden("flashmla_v4_page64/table");
  const NpyArray dequant = Golden("flashmla_v4_page64/dequant");
  const std::vector<uint8_t> rotated = EncodePages(RowFormat::kBf16, kv, &table, 64, 64 * 1024);
  for (int64_t i = 0; i < kv.shape[0]; ++i) {
    EXPECT_EQ(std::memcmp(rotated.data() + i * 1024, kv.data<uint16_t>() + i * 512, 896), 0);
    EXPECT_EQ(
        std::memcmp(rotated.data() + i * 1024 + 896, dequant.data<uint16_t>() + i * 512 + 448, 128),
        0);
  }
}

TEST_P(RowCodecTest, IndexerKeysRotateInTheirLast64Channels) {
  // An indexer key whose last 64 channels are those of a latent row, rotated alike.
  const NpyArray kv = Golden("flashmla_v4_page64/kv");
  const NpyArray table = Golden("flashmla_v4_page64/table");
  const NpyArray rotated_rows = Golden("flashmla_v4_page64/dequant");
  for (const RowFormat format : {RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4}) {
    for (int64_t i = 0; i < kv.shape[0]; ++i) {
      uint16_t key[kIndexerChannels], rotated_key[kIndexerChannels];
      std::memcpy(key, kv.data<uint16_t>() + i * 512 + 384, sizeof(key));
      std::memcpy(rotated_key, key, 128);
      std::memcpy(rotated_key + 64, rotated_rows.data<uint16_t>() + i * 512 + 448, 128);
      uint8_t data[2][128], scale[2][4];
      GetParam().encode(format, key, table.data<float>() + i * 64, 1, data[0], scale[0]);
      GetParam().encode(format, rotated_key, nullptr, 1, data[1], scale[1]);
      EXPECT_EQ(std::memcmp(data[0], data[1], LayoutOf(format).data_bytes), 0);
      EXPECT_EQ(std::memcmp(scale[0], scale[1], 4), 0);
    }
  }
}

TEST_P(RowCodecTest, ABadValueNeverSpoilsItsNeighbours) {
  const NpyArray kv = Golden("flashmla_v4_page64/kv");
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    const RowLayout layout = LayoutOf(format);
    std::vector<uint16_t> row(kv.data<uint16_t>(), kv.data<uint16_t>() + layout.channels);
    row[3] = 0;
    std::vector<uint8_t> data[2], scale[2];
    for (int bad = 0; bad < 2; ++bad) {
      data[bad].resize(layout.data_bytes);
      scale[bad].resize(layout.scale_bytes);
      row[3] = bad == 0 ? 0 : 0xFFC1;  // NaN becomes +0
      EXPECT_EQ(
          GetParam().encode(format, row.data(), nullptr, 1, data[bad].data(), scale[bad].data()),
          bad);
    }
    EXPECT_EQ(data[0], data[1]);
    EXPECT_EQ(scale[0], scale[1]);
  }
}

TEST_P(RowCodecTest, ARowThatWasNeverWrittenDecodesToZero) {
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    const std::vector<uint8_t> zeros(1024);
    std::vector<uint16_t> row(LayoutOf(format).channels, 0xFFFF);
    GetParam().decode(format, zeros.data(), zeros.data(), nullptr, 1, row.data());
    for (const uint16_t channel : row) EXPECT_EQ(channel, 0);
  }
}

TEST_P(RowCodecTest, AnyFiniteIndexerScaleIsRead) {
  std::vector<uint8_t> codes(kIndexerChannels);
  for (int i = 0; i < kIndexerChannels; ++i) codes[i] = static_cast<uint8_t>(i < 127 ? i : 0x80);
  for (const float scale : {0.3f, -2.5f, 0.0f, 1e-42f, 3e38f}) {
    uint8_t bytes[4];
    std::memcpy(bytes, &scale, sizeof(bytes));
    std::vector<uint16_t> row(kIndexerChannels);
    GetParam().decode(RowFormat::kIndexerFp8, codes.data(), bytes, nullptr, 1, row.data());
    for (int i = 0; i < kIndexerChannels; ++i) {
      EXPECT_EQ(row[i], Bf16FromFloat(FloatFromE4m3(codes[i]) * scale));
      EXPECT_NE(row[i] & 0x7F80, 0x7F80) << "not finite";
    }
  }
}

TEST_P(RowCodecTest, ForeignBytesOfEveryKindAreDecodedWithoutTrapping) {
  // NaN codes and NaN scales give NaN, what overflows saturates.
  uint32_t state = 7;
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    const RowLayout layout = LayoutOf(format);
    for (int repeat = 0; repeat < 200; ++repeat) {
      std::vector<uint8_t> data(layout.data_bytes), scale(layout.scale_bytes);
      for (auto* bytes : {&data, &scale}) {
        for (uint8_t& byte : *bytes) {
          state = state * 1664525u + 1013904223u;
          byte = static_cast<uint8_t>(state >> 24);
        }
      }
      std::vector<uint16_t> row(layout.channels), reference(layout.channels);
      GetParam().decode(format, data.data(), scale.data(), nullptr, 0.7f, row.data());
      DecodePackets(format, data.data(), scale.data(), nullptr, 0.7f, reference.data());
      for (int c = 0; c < layout.channels; ++c) {
        EXPECT_EQ(row[c], reference[c]);
      }
    }
  }
}

TEST_P(RowCodecTest, TheSmallestGlobalScaleSaturatesInsteadOfDividingZeroByZero) {
  std::vector<uint16_t> row(kLatentChannels);
  row[16] = 0x3F80;
  std::vector<uint8_t> data(256), scale(32);
  EXPECT_EQ(
      GetParam().encode(RowFormat::kNvfp4, row.data(), nullptr, 1e-45f, data.data(), scale.data()),
      0);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(data[i], i == 8 ? 7 : 0);
  EXPECT_EQ(scale[1], 0x7E);

  std::vector<uint8_t> codes(kLatentChannels);
  EXPECT_EQ(GetParam().encode(RowFormat::kFp8PerTensor, row.data(), nullptr, 1e-45f, codes.data(),
                              nullptr),
            0);
  for (int i = 0; i < kLatentChannels; ++i) EXPECT_EQ(codes[i], i == 16 ? 0x7E : 0);
}

TEST(RowFormatTest, NamesAreParsedBackAndOthersAreRefusedWithTheList) {
  for (int i = 0; i < kNumRowFormats; ++i) {
    const RowFormat format = static_cast<RowFormat>(i);
    const absl::StatusOr<RowFormat> parsed = ParseRowFormat(RowFormatName(format));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, format);
  }
  const absl::Status unknown = ParseRowFormat("fp8").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(unknown.message().find("flashmla_v4"), absl::string_view::npos);
}

TEST(RowFormatTest, PagesHaveTheSizesOfTheTable) {
  EXPECT_EQ(PageBytes(RowFormat::kBf16, 1), 1024);
  EXPECT_EQ(PageBytes(RowFormat::kFp8PerToken, 1), 514);
  EXPECT_EQ(PageBytes(RowFormat::kNvfp4, 1), 288);
  EXPECT_EQ(PageBytes(RowFormat::kFlashMlaV4, 64), 64 * 584);
  EXPECT_EQ(PageBytes(RowFormat::kMxfp8V41, 1), 528);
  EXPECT_EQ(PageBytes(RowFormat::kIndexerFp8, 1), 132);
  EXPECT_EQ(PageBytes(RowFormat::kIndexerMxfp4, 1), 68);
  EXPECT_EQ(PageBytes(RowFormat::kMxfp8V41Il, 1), 528);
  EXPECT_EQ(PageBytes(RowFormat::kNvfp4V41Il, 1), 288);
  EXPECT_EQ(PageBytes(RowFormat::kFp8PerTensor, 1), 512);
  EXPECT_EQ(PageBytes(RowFormat::kNvfp4Rope, 1), 384);
}

TEST(RowFormatTest, ScalesLieBehindThePagesDataOrBehindTheRows) {
  const RowLayout split = LayoutOf(RowFormat::kMxfp8V41);
  EXPECT_EQ(split.data_stride(), 512);
  EXPECT_EQ(split.scale_stride(), 16);
  EXPECT_EQ(split.scale_offset(64), 64 * 512);
  const RowLayout interleaved = LayoutOf(RowFormat::kMxfp8V41Il);
  EXPECT_EQ(interleaved.data_stride(), 528);
  EXPECT_EQ(interleaved.scale_stride(), 528);
  EXPECT_EQ(interleaved.scale_offset(64), 512);
}

TEST(RowFormatTest, FormatsWithAGlobalScaleAreThoseWithoutAScaleOfTheirOwnAndNvfp4) {
  std::string names;
  for (int i = 0; i < kNumRowFormats; ++i) {
    const auto format = static_cast<RowFormat>(i);
    const absl::string_view name = RowFormatName(format);
    if (HasGlobalScale(format)) names.append(name.data(), name.size()).append(" ");
  }
  EXPECT_EQ(names, "nvfp4 nvfp4_v41_il fp8_per_tensor nvfp4_rope ");
}

}  // namespace
}  // namespace terrace::testing
