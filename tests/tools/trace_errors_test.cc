// What is no trace, or not a whole one.

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/trace_text.h"
#include "tools/terrace/trace/trace.h"

namespace terrace::testing {
namespace {

using tools::ReadTrace;

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string MessageOf(const std::string& text) {
  return std::string(ParseText(text).status().message());
}

constexpr char kGoodLine[] =
    "{\"timestamp\": 27, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [4, 9]}\n";

TEST(TraceErrorsTest, ATruncatedJsonLineIsNamedByItsNumber) {
  const std::string good = kGoodLine;
  const std::string error = MessageOf(good + good + good.substr(0, 40));
  EXPECT_THAT(error, StartsWith("trace:3: "));
  EXPECT_THAT(error, HasSubstr("truncated"));
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

TEST(TraceErrorsTest, ATruncatedCsvLineIsNamedByItsNumber) {
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  EXPECT_THAT(MessageOf(header + "2023-11-16 18:15:46.6,374"), StartsWith("trace:2: 2 columns"));
  EXPECT_THAT(MessageOf(header + "2023-11-16 18:15:46.6,374,"), HasSubstr("GeneratedTokens"));
  EXPECT_THAT(MessageOf(header + "2023-11-16,374,5"), HasSubstr("TIMESTAMP"));
  EXPECT_THAT(MessageOf(header + "2023-02-30 18:15:46.6,374,5"), HasSubstr("TIMESTAMP"));
}

TEST(TraceErrorsTest, EveryWrongFieldIsNamed) {
  EXPECT_THAT(MessageOf("{\"input_length\": 1, \"output_length\": 1}"), HasSubstr("timestamp"));
  EXPECT_THAT(MessageOf("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}"),
              HasSubstr("timestamp"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1e300, \"input_length\": 1, \"output_length\": 1}"),
              HasSubstr("not milliseconds from 0 to 1e+15"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1, \"input_length\": 0, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1.5}"),
              HasSubstr("output_length"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1, \"input_length\": 9e18, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1, \"input_length\": 99999999999, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(
      MessageOf(
          "{\"timestamp\": 1, \"input_length\": 513, \"output_length\": 1, \"hash_ids\": [1]}"),
      HasSubstr("hash_ids"));
  EXPECT_THAT(
      MessageOf(
          "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [\"a\"]}"),
      HasSubstr("hash_ids"));
  EXPECT_THAT(MessageOf("{\"timestamp\": 1} trailing"), StartsWith("trace:1: "));
}

TEST(TraceErrorsTest, WhatIsNoTraceIsAnError) {
  EXPECT_THAT(MessageOf(""), HasSubstr("no request"));
  EXPECT_THAT(MessageOf("TIMESTAMP,ContextTokens,GeneratedTokens\n"), HasSubstr("no request"));
  EXPECT_THAT(MessageOf("hello\n"), HasSubstr("neither"));
  EXPECT_TRUE(absl::IsNotFound(ReadTrace("/no/such/trace.jsonl").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTrace("/").status()));
}

}  // namespace
}  // namespace terrace::testing
