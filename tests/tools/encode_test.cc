#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tools/terrace/commands/encode_command.h"
#include "tools/terrace/npy.h"

namespace terrace::testing {
namespace {

using tools::AddDecodeCommand;
using tools::AddEncodeCommand;
using tools::MakeNpyArray;
using tools::NpyArray;
using tools::ReadNpy;
using tools::WriteNpy;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Outcome {
  int exit_code = 0;
  std::string error;  // standard error
};

// Runs a command line as the program does; usage errors exit with 2.
Outcome RunCommand(const std::string& line) {
  Outcome outcome;
  ::testing::internal::CaptureStderr();
  CLI::App app;
  AddEncodeCommand(app, &outcome.exit_code);
  AddDecodeCommand(app, &outcome.exit_code);
  std::string usage;
  try {
    app.parse(line);
  } catch (const CLI::ParseError& error) {
    outcome.exit_code = 2;
    usage = error.what();
  }
  outcome.error = ::testing::internal::GetCapturedStderr() + usage;
  return outcome;
}

class CliEncodeTest : public GoldenTest {
 protected:
  void SetUp() override {
    GoldenTest::SetUp();
    folder_ = ::testing::TempDir() + "/cli_encode_test." + std::to_string(getpid());
    ASSERT_EQ(mkdir(folder_.c_str(), 0700), 0);
  }
  void TearDown() override {
    for (const std::string& name : temporary_) unlink(name.c_str());
    rmdir(folder_.c_str());
  }

  std::string Temporary(const std::string& name) {
    temporary_.push_back(folder_ + "/" + name);
    return temporary_.back();
  }
  std::string Save(const std::string& name, const NpyArray& array) {
    const std::string path = Temporary(name);
    EXPECT_TRUE(WriteNpy(path, array).ok());
    return path;
  }
  static NpyArray Load(const std::string& path) {
    absl::StatusOr<NpyArray> array = ReadNpy(path);
    EXPECT_TRUE(array.ok()) << array.status();
    return array.ok() ? *std::move(array) : NpyArray{};
  }

  // Encodes golden rows and decodes golden pages; both must equal the golden arrays.
  void ExpectGolden(const std::string& options, const std::string& rows, const std::string& table,
                    const std::string& pages, const std::string& dequant) {
    const std::string rope = table.empty() ? "" : " --rope-table " + GoldenPath(table) + ".npy";
    const std::string out = Temporary("out.npy");
    const Outcome encoded =
        RunCommand("encode " + options + rope + " " + GoldenPath(rows) + ".npy " + out);
    EXPECT_EQ(encoded.exit_code, 0) << encoded.error;
    const NpyArray written = Load(out);
    EXPECT_EQ(written.shape, Golden(pages).shape);
    EXPECT_TRUE(written.bytes == Golden(pages).bytes);

    const Outcome decoded =
        RunCommand("decode " + options + " " + GoldenPath(pages) + ".npy " + out);
    EXPECT_EQ(decoded.exit_code, 0) << decoded.error;
    NpyArray read = Load(out);
    const NpyArray expected = Golden(dequant);
    ASSERT_GE(read.bytes.size(), expected.bytes.size());
    for (size_t i = expected.bytes.size(); i < read.bytes.size(); ++i) {
      ASSERT_EQ(read.bytes[i], 0) << "rows past the last one decode to zero";
    }
    read.bytes.resize(expected.bytes.size());
    EXPECT_TRUE(read.bytes == expected.bytes);
  }

  std::string folder_;
  std::vector<std::string> temporary_;
};

TEST_F(CliEncodeTest, FlashMlaPagesEqualTheGoldenOnes) {
  for (const auto& [folder, page] :
       {std::pair("flashmla_v4_page64", "64"), std::pair("flashmla_v4_page16", "16"),
        std::pair("flashmla_v4_page2", "2"), std::pair("flashmla_v4_page64_partial", "64")}) {
    SCOPED_TRACE(folder);
    const std::string name(folder);
    ExpectGolden("--format flashmla_v4 --align 576 --page " + std::string(page), name + "/kv",
                 name + "/table", name + "/pages", name + "/dequant");
  }
}

TEST_F(CliEncodeTest, V41AndIndexerPagesEqualTheGoldenOnes) {
  ExpectGolden("--format mxfp8_v41 --align 512", "mxfp8_v41_page64/kv", "mxfp8_v41_page64/table",
               "mxfp8_v41_page64/pages", "mxfp8_v41_page64/dequant");
  ExpectGolden("--format nvfp4 --align 512 --global-scale 1", "nvfp4_v41_page64/kv",
               "nvfp4_v41_page64/table", "nvfp4_v41_page64/pages", "nvfp4_v41_page64/dequant");
  ExpectGolden("--format indexer_fp8 --align 1", "indexer_fp8_page64/k", "",
               "indexer_fp8_page64/pages", "indexer_fp8_page64/dequant");
  ExpectGolden("--format indexer_mxfp4 --align 1", "indexer_mxfp4_page64/k", "",
               "indexer_mxfp4_page64/pages", "indexer_mxfp4_page64/dequant");
}

TEST_F(CliEncodeTest, BadValuesAreReplacedAndCounted) {
  const std::string out = Temporary("out.npy");
  const Outcome outcome =
      RunCommand("encode --format mxfp8_v41 --align 1 " + GoldenPath("every_bf16/kv.npy ") + out);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.error, HasSubstr("256 NaN or infinite values"));
  EXPECT_TRUE(Load(out).bytes == Golden("every_bf16/mxfp8_v41_pages").bytes);
}

TEST_F(CliEncodeTest, DecodeRotatesAfterLoad) {
  NpyArray pages = Golden("fp8_per_token/codes");
  const NpyArray scales = Golden("fp8_per_token/inv_scale");
  pages.bytes.insert(pages.bytes.end(), scales.bytes.begin(), scales.bytes.end());
  pages.shape = {1, static_cast<int64_t>(pages.bytes.size())};
  const std::string in = Save("pages.npy", pages);
  const std::string out = Temporary("out.npy");
  const Outcome outcome =
      RunCommand("decode --format fp8_per_token --page 128 --align 1 --dim 512 --rope-table " +
                 GoldenPath("fp8_per_token/table.npy ") + in + " " + out);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  EXPECT_TRUE(Load(out).bytes == Golden("fp8_per_token/dequant_rope").bytes);
}

TEST_F(CliEncodeTest, TheGlobalScaleIsUsed) {
  const std::string out = Temporary("out.npy");
  const float global_scale = *Golden("nvfp4/global_scale").data<float>();
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(global_scale));
  const Outcome outcome = RunCommand("encode --format nvfp4 --page 128 --align 1 --global-scale " +
                                     std::string(text) + " " + GoldenPath("nvfp4/kv.npy ") + out);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.error;
  const NpyArray codes = Golden("nvfp4/codes");
  const NpyArray scales = Golden("nvfp4/scales");
  const NpyArray pages = Load(out);
  ASSERT_EQ(pages.bytes.size(), codes.bytes.size() + scales.bytes.size());
  EXPECT_EQ(std::memcmp(pages.bytes.data(), codes.bytes.data(), codes.bytes.size()), 0);
  EXPECT_EQ(std::memcmp(pages.bytes.data() + codes.bytes.size(), scales.bytes.data(),
                        scales.bytes.size()),
            0);
}

TEST_F(CliEncodeTest, NoRowsGiveNoPages) {
  const std::string rows = Save("rows.npy", MakeNpyArray<uint16_t>({0, 512}, {}));
  const std::string pages = Temporary("pages.npy");
  const std::string again = Temporary("again.npy");
  EXPECT_EQ(RunCommand("encode --format bf16 " + rows + " " + pages).exit_code, 0);
  EXPECT_THAT(Load(pages).shape, ElementsAre(0, 64 * 1024));
  EXPECT_EQ(RunCommand("decode --format bf16 " + pages + " " + again).exit_code, 0);
  EXPECT_THAT(Load(again).shape, ElementsAre(0, 512));
}

TEST_F(CliEncodeTest, FilesThatDoNotFitAreOneLineAndExitWith1) {
  const std::string rows = GoldenPath("flashmla_v4_page64/kv.npy");
  const std::string keys = GoldenPath("indexer_fp8_page64/k.npy");
  const std::string pages = GoldenPath("flashmla_v4_page64/pages.npy");
  const std::string partial_table = GoldenPath("flashmla_v4_page64_partial/table.npy");
  const std::string cut = Temporary("cut.npy");
  std::ofstream(cut) << "\x93NUMPY";
  const std::string out = Temporary("out.npy");
  const std::pair<std::string, std::string> cases[] = {
      {"encode --format flashmla_v4 " + keys + " " + out, "uint16 (n, 512)"},
      {"encode --format flashmla_v4 " + pages + " " + out, "the rows are uint8 (2, 37440)"},
      {"encode --format flashmla_v4 --rope-table " + partial_table + " " + rows + " " + out,
       "it must be float32 (128, 64)"},
      {"encode --format flashmla_v4 --rope-table " + rows + " " + rows + " " + out, "rope table"},
      {"encode --format flashmla_v4 /nowhere/kv.npy " + out, "/nowhere/kv.npy"},
      {"encode --format flashmla_v4 " + rows + " /nowhere/out.npy", "/nowhere/out.npy"},
      {"encode --format flashmla_v4 " + cut + " " + out, "cut.npy: not a readable .npy file"},
      {"decode --format flashmla_v4 " + pages + " " + out, "37376) with --page 64 --align 16"},
      {"decode --format flashmla_v4 --align 576 --page 64 --rope-table " +
           GoldenPath("rope/base10000.npy ") + pages + " " + out,
       "it must be float32 (65..128, 64)"},
  };
  for (const auto& [line, message] : cases) {
    SCOPED_TRACE(line);
    const Outcome outcome = RunCommand(line);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.error, HasSubstr(message));
    EXPECT_EQ(outcome.error.find('\n'), outcome.error.size() - 1) << outcome.error;
    EXPECT_NE(access(out.c_str(), F_OK), 0) << "something was written";
  }
}

TEST_F(CliEncodeTest, BadUsageExitsWith2) {
  const std::string files = GoldenPath("flashmla_v4_page64/kv.npy ") + Temporary("out.npy");
  const std::pair<std::string, std::string> cases[] = {
      {"encode " + files, "--format"},
      {"encode --format fp8 " + files, "flashmla_v4"},
      {"encode --format bf16 --page 48 " + files, "48 is not a power of two"},
      {"encode --format bf16 --page 0 " + files, "--page"},
      {"encode --format bf16 --page x " + files, "--page"},
      {"encode --format bf16 --align 0 " + files, "--align"},
      {"encode --format nvfp4 --global-scale 0 " + files, "above 0"},
      {"encode --format nvfp4 --global-scale nan " + files, "--global-scale"},
      {"encode --format bf16 --dim 512 " + files, "--dim"},
      {"decode --format bf16 --dim 128 " + files, "pass --dim 512"},
      {"encode --format bf16 " + GoldenPath("flashmla_v4_page64/kv.npy"), "output"},
  };
  for (const auto& [line, message] : cases) {
    SCOPED_TRACE(line);
    const Outcome outcome = RunCommand(line);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.error, HasSubstr(message));
  }
}

}  // namespace
}  // namespace terrace::testing
