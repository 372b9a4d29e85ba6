// Bad usage and failures of `terrace encode` and `terrace decode`.

#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/encode_fixture.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

class EncodeUsageTest : public EncodeFixture {};

TEST_F(EncodeUsageTest, FilesThatDoNotFitAreOneLineAndExitWith1) {
  const std::string rows = GoldenPath("flashmla_v4_page64/kv.npy");
  const std::string keys = GoldenPath("indexer_fp8_page64/k.npy");
  const std::string pages = GoldenPath("flashmla_v4_page64/pages.npy");
  const std::string partial_table = GoldenPath("flashmla_v4_page64_partial/table.npy");
  const std::string bf16 =
      Save("bf16.npy", {NpyType::kUint8, {2, 65536}, std::vector<uint8_t>(2 * 65536)});
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
      {"decode --format bf16 --page 64 --rope-table " + GoldenPath("rope/base10000.npy ") + bf16 +
           " " + out,
       "it must be float32 (65..128, 64)"},
  };
  for (const auto& [line, message] : cases) {
    SCOPED_TRACE(line);
    const CommandOutcome outcome = RunLine(line);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.err, HasSubstr(message));
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_NE(access(out.c_str(), F_OK), 0) << "something was written";
  }
}

TEST_F(EncodeUsageTest, BadUsageExitsWith2) {
  const std::string files = GoldenPath("flashmla_v4_page64/kv.npy ") + Temporary("out.npy");
  const std::pair<std::string, std::string> cases[] = {
      {"encode " + files, "--format"},
      {"encode --format fp8 " + files, "flashmla_v4"},
      {"encode --format bf16 --page 48 " + files, "48 is not a power of two"},
      {"encode --format bf16 --page 0 " + files, "--page"},
      {"encode --format bf16 --page x " + files, "--page"},
      {"encode --format bf16 --align 0 " + files, "--align"},
      {"encode --format nvfp4 --global-scale 0 " + files, "--global-scale"},
      {"encode --format nvfp4 --global-scale 1e39 " + files, "--global-scale"},
      {"encode --format nvfp4 --global-scale 1e-46 " + files, "--global-scale"},
      {"encode --format flashmla_v4 --global-scale 2 " + files, "--global-scale: flashmla_v4"},
      {"decode --format bf16 --global-scale 2 " + files, "--global-scale: bf16"},
      {"encode --format mxfp8_v41_il --global-scale 2 " + files, "--global-scale: mxfp8_v41_il"},
      {"encode --format fp8_per_tensor --global-scale 0 " + files, "--global-scale"},
      {"decode --format mxfp8_v41_il --rope-table t.npy " + files, "--rope-table: mxfp8_v41_il"},
      {"decode --format nvfp4_v41_il --rope-table t.npy " + files, "--rope-table: nvfp4_v41_il"},
      {"decode --format fp8_per_tensor --rope-table t.npy " + files,
       "--rope-table: fp8_per_tensor"},
      {"decode --format nvfp4_rope --rope-table t.npy " + files, "--rope-table: nvfp4_rope"},
      {"decode --format flashmla_v4 --rope-table t.npy " + files, "--rope-table: flashmla_v4"},
      {"decode --format mxfp8_v41 --rope-table t.npy " + files, "--rope-table: mxfp8_v41"},
      {"decode --format indexer_fp8 --rope-table t.npy " + files, "--rope-table: indexer_fp8"},
      {"decode --format indexer_mxfp4 --rope-table t.npy " + files, "--rope-table: indexer_mxfp4"},
      {"encode --format fp8_per_token --rope-table t.npy " + files, "give the table to decode"},
      {"encode --format nvfp4 --global-scale nan " + files, "--global-scale"},
      {"encode --format bf16 --dim 512 " + files, "--dim"},
      {"decode --format bf16 --dim 128 " + files, "pass --dim 512"},
      {"encode --format bf16 " + GoldenPath("flashmla_v4_page64/kv.npy"), "output"},
  };
  for (const auto& [line, message] : cases) {
    SCOPED_TRACE(line);
    const CommandOutcome outcome = RunLine(line);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
}

}  // namespace
}  // namespace terrace::testing
