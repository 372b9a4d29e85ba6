#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/encode_fixture.h"
#include "tools/terrace/commands/encode_command.h"
#include "tools/terrace/npy.h"

namespace terrace::testing {
namespace {

using tools::MakeNpyArray;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class EncodeTest : public EncodeFixture {};

TEST_F(EncodeTest, FlashMlaPagesEqualTheGoldenOnes) {
  for (const auto& [folder, page] :
       {std::pair("flashmla_v4_page64", "64"), std::pair("flashmla_v4_page16", "16"),
        std::pair("flashmla_v4_page2", "2"), std::pair("flashmla_v4_page64_partial", "64")}) {
    SCOPED_TRACE(folder);
    const std::string name(folder);
    ExpectGolden("--format flashmla_v4 --align 576 --page " + std::string(page), name + "/kv",
                 name + "/table", name + "/pages", name + "/dequant");
  }
}

TEST_F(EncodeTest, V41AndIndexerPagesEqualTheGoldenOnes) {
  ExpectGolden("--format mxfp8_v41 --align 512", "mxfp8_v41_page64/kv", "mxfp8_v41_page64/table",
               "mxfp8_v41_page64/pages", "mxfp8_v41_page64/dequant");
  ExpectGolden("--format nvfp4 --align 512 --global-scale 1", "nvfp4_v41_page64/kv",
               "nvfp4_v41_page64/table", "nvfp4_v41_page64/pages", "nvfp4_v41_page64/dequant");
  ExpectGolden("--format indexer_fp8 --align 1", "indexer_fp8_page64/k", "",
               "indexer_fp8_page64/pages", "indexer_fp8_page64/dequant");
  ExpectGolden("--format indexer_mxfp4 --align 1", "indexer_mxfp4_page64/k", "",
               "indexer_mxfp4_page64/pages", "indexer_mxfp4_page64/dequant");
}

TEST_F(EncodeTest, InterleavedPerTensorAndRopePagesEqualTheGoldenOnes) {
  for (const auto& [name, align] :
       {std::pair("mxfp8_v41_il", "528"), std::pair("nvfp4_v41_il", "288"),
        std::pair("fp8_per_tensor", "512"), std::pair("nvfp4_rope", "16")}) {
    SCOPED_TRACE(name);
    const std::string folder = std::string(name) + "_page64";
    ExpectGolden("--format " + std::string(name) + " --align " + align, "mxfp8_v41_page64/kv",
                 "mxfp8_v41_page64/table", folder + "/pages", folder + "/dequant");
  }
}

TEST_F(EncodeTest, BadValuesAreReplacedAndCounted) {
  const std::string out = Temporary("out.npy");
  const CommandOutcome outcome =
      RunLine("encode --format mxfp8_v41 --align 1 " + GoldenPath("every_bf16/kv.npy ") + out);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("256 NaN or infinite values"));
  EXPECT_TRUE(Load(out).bytes == Golden("every_bf16/mxfp8_v41_pages").bytes);
}

TEST_F(EncodeTest, DecodeRotatesAfterLoad) {
  NpyArray pages = Golden("fp8_per_token/codes");
  const NpyArray scales = Golden("fp8_per_token/inv_scale");
  pages.bytes.insert(pages.bytes.end(), scales.bytes.begin(), scales.bytes.end());
  pages.shape = {1, static_cast<int64_t>(pages.bytes.size())};
  const std::string in = Save("pages.npy", pages);
  const std::string out = Temporary("out.npy");
  const CommandOutcome outcome =
      RunLine("decode --format fp8_per_token --page 128 --align 1 --dim 512 --rope-table " +
              GoldenPath("fp8_per_token/table.npy ") + in + " " + out);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(Load(out).bytes == Golden("fp8_per_token/dequant_rope").bytes);
}

TEST_F(EncodeTest, TheGlobalScaleIsUsed) {
  const std::string out = Temporary("out.npy");
  const float global_scale = *Golden("nvfp4/global_scale").data<float>();
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(global_scale));
  const CommandOutcome outcome =
      RunLine("encode --format nvfp4 --page 128 --align 1 --global-scale " + std::string(text) +
              " " + GoldenPath("nvfp4/kv.npy ") + out);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const NpyArray codes = Golden("nvfp4/codes");
  const NpyArray scales = Golden("nvfp4/scales");
  const NpyArray pages = Load(out);
  ASSERT_EQ(pages.bytes.size(), codes.bytes.size() + scales.bytes.size());
  EXPECT_EQ(std::memcmp(pages.bytes.data(), codes.bytes.data(), codes.bytes.size()), 0);
  EXPECT_EQ(std::memcmp(pages.bytes.data() + codes.bytes.size(), scales.bytes.data(),
                        scales.bytes.size()),
            0);
}

TEST_F(EncodeTest, NoRowsGiveNoPages) {
  const std::string rows = Save("rows.npy", MakeNpyArray<uint16_t>({0, 512}, {}));
  const std::string pages = Temporary("pages.npy");
  const std::string again = Temporary("again.npy");
  EXPECT_EQ(RunLine("encode --format bf16 " + rows + " " + pages).exit_code, 0);
  EXPECT_THAT(Load(pages).shape, ElementsAre(0, 64 * 1024));
  EXPECT_EQ(RunLine("decode --format bf16 " + pages + " " + again).exit_code, 0);
  EXPECT_THAT(Load(again).shape, ElementsAre(0, 512));
}

}  // namespace
}  // namespace terrace::testing
