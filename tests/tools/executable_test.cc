// Exit codes (0, 1 failed, 2 bad usage) and one-line errors of the program.

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"
#include "tests/tools/executable_fixture.h"

namespace terrace::testing {
namespace {

class ExecutableTest : public ExecutableFixture {};

TEST_F(ExecutableTest, HelpHasExamplesAndExitsWithZero) {
  for (const char* command : {"", "capacity ", "plan ", "replay ", "encode ", "decode "}) {
    SCOPED_TRACE(command);
    const CommandOutcome outcome = Run(absl::StrCat(command, "--help"));
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.err, "");
    EXPECT_NE(outcome.out.find("Examples:"), std::string::npos) << outcome.out;
  }
  EXPECT_EQ(Run("--version").exit_code, 0);
}

TEST_F(ExecutableTest, BadUsageExitsWithTwoAndOneLine) {
  ExpectError("", 2, "capacity, replay");
  ExpectError("fly", 2, "fly");
  ExpectError("capacity --memory 40GiB --nonsense", 2, "--nonsense");
  ExpectError("capacity --memory lots", 2, "lots");
  ExpectError("capacity --memory -4GiB", 2, "4GiB");
  ExpectError("capacity --memory 4QiB", 2, "4QiB");
  ExpectError("capacity --memory 99999999999TiB", 2, "99999999999TiB");
  ExpectError("capacity --memory 40GiB --sequences none", 2, "none");
  ExpectError("replay --memory 4GiB --backend gpu", 2, "gpu");
  ExpectError("replay --memory 4GiB --data some", 2, "some");
  ExpectError("replay --memory 4GiB --sequences 0", 2, "--sequences");
  ExpectError("replay --memory 1GiB --plot pools.xyz", 2, "pools.xyz");
  ExpectError("capacity --model no-such-model --memory 40GiB", 2, "deepseek-v4-flash");
  ExpectError("replay --memory 4GiB --acceptance 2", 2, "--acceptance");
  ExpectError("encode --format flashmla_v9 in.npy out.npy", 2, "flashmla_v9");
  ExpectError("encode --format bf16 in.npy", 2, "output");
  ExpectError("encode in.npy out.npy", 2, "--format");
}

TEST_F(ExecutableTest, WhatFailsExitsWithOneAndOneLine) {
  ExpectError("capacity --memory 1MiB", 1, "at least");
  ExpectError("plan --memory 1MiB", 1, "at least");
  ExpectError("replay --trace nowhere.jsonl --memory 4GiB", 1, "nowhere.jsonl");
  ExpectError("replay --memory 1MiB", 1, "at least");
  ExpectError("encode --format bf16 nowhere.npy out.npy", 1, "nowhere.npy");
  const CommandOutcome unwritten =
      Run("capacity --memory 40GiB --json /no/such/folder/capacity.json");
  EXPECT_EQ(unwritten.exit_code, 1);
  EXPECT_NE(unwritten.err.find("/no/such/folder"), std::string::npos) << unwritten.err;
  WriteFile("text.npy", "this is no array");
  ExpectError("encode --format bf16 text.npy out.npy", 1, "text.npy");
}

}  // namespace
}  // namespace terrace::testing
