// What the program does with traces, good and broken.

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/executable_fixture.h"

namespace terrace::testing {
namespace {

class ExecutableTraceTest : public ExecutableFixture {};

TEST_F(ExecutableTraceTest, ABrokenTraceIsNamedByFileAndLine) {
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

TEST_F(ExecutableTraceTest, ASmallReplayEndsWellWithEveryFigure) {
  const CommandOutcome outcome =
      Run("replay --memory 1GiB --sequences 8 --step-tokens 1024 --requests 20 --drafts 3 "
          "--backend host --json run.json");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
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
