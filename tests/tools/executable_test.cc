// The program `terrace` as a user runs it: exit codes (0, 1 failed, 2 bad usage) and one-line
// errors.

#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

struct Outcome {
  int code = -1;
  std::string out;
  std::string err;
};

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class CliTest : public ::testing::Test {
 protected:
  void SetUp() override {
    // The build puts the program beside its tests.
    program_ = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "terrace";
    if (!std::filesystem::exists(program_)) GTEST_SKIP() << "there is no " << program_;
    std::string name = ::testing::TempDir() + "terrace_cli_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  Outcome Run(const std::string& arguments) const {
    const std::string command = absl::StrCat("cd '", folder_.string(), "' && '", program_.string(),
                                             "' ", arguments, " > out 2> err < /dev/null");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(folder_ / "out"),
            ReadFile(folder_ / "err")};
  }

  // The program must exit with `code` and say why in one line that holds `names`.
  void ExpectError(const std::string& arguments, int code, const std::string& names) const {
    SCOPED_TRACE("terrace " + arguments);
    const Outcome outcome = Run(arguments);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.err.find("terrace"), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find(names), std::string::npos)
        << "no \"" << names << "\" in: " << outcome.err;
  }

  void WriteFile(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  std::filesystem::path program_;
  std::filesystem::path folder_;
};

TEST_F(CliTest, HelpHasExamplesAndExitsWithZero) {
  for (const char* command : {"", "plan ", "replay ", "encode ", "decode "}) {
    SCOPED_TRACE(command);
    const Outcome outcome = Run(absl::StrCat(command, "--help"));
    EXPECT_EQ(outcome.code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_NE(outcome.out.find("Examples:"), std::string::npos) << outcome.out;
  }
  EXPECT_EQ(Run("--version").code, 0);
}

TEST_F(CliTest, BadUsageExitsWithTwoAndOneLine) {
  ExpectError("", 2, "plan, replay");
  ExpectError("fly", 2, "fly");
  ExpectError("plan --memory 40GiB --nonsense", 2, "--nonsense");
  ExpectError("plan --memory lots", 2, "lots");
  ExpectError("plan --memory -4GiB", 2, "4GiB");
  ExpectError("plan --memory 4QiB", 2, "4QiB");
  ExpectError("plan --memory 99999999999TiB", 2, "99999999999TiB");
  ExpectError("plan --memory 40GiB --sequences none", 2, "none");
  ExpectError("replay --memory 4GiB --backend gpu", 2, "gpu");
  ExpectError("replay --memory 4GiB --data some", 2, "some");
  ExpectError("replay --memory 4GiB --sequences 0", 2, "--sequences");
  ExpectError("replay --memory 1GiB --plot pools.xyz", 2, "pools.xyz");
  ExpectError("plan --model no-such-model --memory 40GiB", 2, "deepseek-v4-flash");
  ExpectError("replay --memory 4GiB --acceptance 2", 2, "--acceptance");
  ExpectError("encode --format flashmla_v9 in.npy out.npy", 2, "flashmla_v9");
  ExpectError("encode --format bf16 in.npy", 2, "output");
  ExpectError("encode in.npy out.npy", 2, "--format");
}

TEST_F(CliTest, WhatFailsExitsWithOneAndOneLine) {
  ExpectError("plan --memory 1MiB", 1, "at least");
  ExpectError("replay --trace nowhere.jsonl --memory 4GiB", 1, "nowhere.jsonl");
  ExpectError("replay --memory 1MiB", 1, "at least");
  ExpectError("encode --format bf16 nowhere.npy out.npy", 1, "nowhere.npy");
  const Outcome unwritten = Run("plan --memory 40GiB --json /no/such/folder/plan.json");
  EXPECT_EQ(unwritten.code, 1);
  EXPECT_NE(unwritten.err.find("/no/such/folder"), std::string::npos) << unwritten.err;
  WriteFile("text.npy", "this is no array");
  ExpectError("encode --format bf16 text.npy out.npy", 1, "text.npy");
}

TEST_F(CliTest, ABrokenTraceIsNamedByFileAndLine) {
  const std::string good =
      R"({"timestamp": 0, "input_length": 10, "output_length": 2, "hash_ids": [1]})"
      "\n";
  WriteFile("cut.jsonl", good + good + R"({"timestamp": 5, "input_len)");
  ExpectError("replay --trace cut.jsonl --memory 1GiB", 1, "cut.jsonl:3");
  WriteFile("number.jsonl",
            good + R"({"timestamp": 0, "input_length": "ten", "output_length": 2, "hash_ids": [1]})"
                   "\n");
  ExpectError("replay --trace number.jsonl --memory 1GiB", 1, "number.jsonl:2");
  WriteFile("negative.jsonl",
            R"({"timestamp": 0, "input_length": -3, "output_length": 2, "hash_ids": [1]})"
            "\n");
  ExpectError("replay --trace negative.jsonl --memory 1GiB", 1, "negative.jsonl:1");
  WriteFile("cut.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930,2162\n");
  ExpectError("replay --trace cut.csv --memory 1GiB", 1, "cut.csv:2");
  WriteFile("empty.jsonl", "");
  ExpectError("replay --trace empty.jsonl --memory 1GiB", 1, "empty.jsonl");
  WriteFile("prose.txt", "Once upon a time\n");
  ExpectError("replay --trace prose.txt --memory 1GiB", 1, "prose.txt");
}

TEST_F(CliTest, ASmallReplayEndsWellWithEveryFigure) {
  const Outcome outcome =
      Run("replay --memory 1GiB --sequences 8 --step-tokens 1024 --requests 20 --drafts 3 "
          "--backend host --json run.json");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string json = ReadFile(folder_ / "run.json");
  for (const char* key :
       {"requests", "completed", "failed", "preemptions", "steps", "sequence_steps",
        "prompt_tokens", "decode_tokens", "ledger_decode_ns_per_sequence_step",
        "ledger_prefill_ns_per_token", "wall_seconds", "verified_rows", "corrupt_rows",
        "leaked_blocks", "pools", "name", "capacity_blocks", "peak_live_blocks", "block_bytes"}) {
    EXPECT_NE(json.find(absl::StrCat("\"", key, "\"")), std::string::npos) << key;
  }
  EXPECT_NE(json.find("\"completed\": 20"), std::string::npos) << json;
  EXPECT_NE(json.find("\"corrupt_rows\": 0"), std::string::npos) << json;
  EXPECT_NE(json.find("\"leaked_blocks\": 0"), std::string::npos) << json;
}

}  // namespace
}  // namespace terrace::testing
