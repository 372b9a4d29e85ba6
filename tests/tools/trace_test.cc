#include "tools/terrace/trace/trace.h"

#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using tools::ParseTrace;
using tools::ReadTrace;
using tools::TraceRequest;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

absl::StatusOr<std::vector<TraceRequest>> Parse(const std::string& text) {
  std::istringstream in(text);
  return ParseTrace(in, "trace");
}

std::string ErrorOf(const std::string& text) { return std::string(Parse(text).status().message()); }

constexpr char kGoodLine[] =
    "{\"timestamp\": 27, \"input_length\": 700, \"output_length\": 5, \"hash_ids\": [4, 9]}\n";

TEST(TraceTest, ReadsMooncakeJsonLines) {
  const auto requests = Parse(
      "{\"timestamp\": 100, \"input_length\": 512, \"output_length\": 3, \"hash_ids\": [0]}\n"
      "\n"
      "{\"timestamp\": 1100, \"input_length\": 513, \"output_length\": 0, \"hash_ids\": [0, 7]}\n");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2);
  EXPECT_EQ((*requests)[0].arrival_ms, 0);
  EXPECT_EQ((*requests)[1].arrival_ms, 1000);
  EXPECT_EQ((*requests)[1].input_length, 513);
  EXPECT_EQ((*requests)[1].output_length, 0);
  EXPECT_THAT((*requests)[1].hash_ids, ElementsAre(0, 7));
}

TEST(TraceTest, ReadsAzureCsvAcrossMidnightAndWithWindowsLineEnds) {
  const auto requests = Parse(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-30 23:59:59.5000000,374,44\r\n"
      "2023-12-01 00:00:01.7500000,396,109");
  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 2);
  EXPECT_DOUBLE_EQ((*requests)[1].arrival_ms, 2250);
  EXPECT_EQ((*requests)[1].input_length, 396);
  EXPECT_EQ((*requests)[1].output_length, 109);
  EXPECT_TRUE((*requests)[1].hash_ids.empty());
}

TEST(TraceTest, SortsRequestsByArrival) {
  const auto requests = Parse(
      "{\"timestamp\": 9, \"input_length\": 1, \"output_length\": 1}\n"
      "{\"timestamp\": 4, \"input_length\": 2, \"output_length\": 1}\n");
  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_EQ((*requests)[0].input_length, 2);
  EXPECT_EQ((*requests)[1].arrival_ms, 5);
}

TEST(TraceTest, ATruncatedJsonLineIsNamedByItsNumber) {
  const std::string good = kGoodLine;
  const std::string error = ErrorOf(good + good + good.substr(0, 40));
  EXPECT_THAT(error, StartsWith("trace:3: "));
  EXPECT_THAT(error, HasSubstr("truncated"));
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

TEST(TraceTest, ATruncatedCsvLineIsNamedByItsNumber) {
  const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
  EXPECT_THAT(ErrorOf(header + "2023-11-16 18:15:46.6,374"), StartsWith("trace:2: 2 columns"));
  EXPECT_THAT(ErrorOf(header + "2023-11-16 18:15:46.6,374,"), HasSubstr("GeneratedTokens"));
  EXPECT_THAT(ErrorOf(header + "2023-11-16,374,5"), HasSubstr("TIMESTAMP"));
  EXPECT_THAT(ErrorOf(header + "2023-02-30 18:15:46.6,374,5"), HasSubstr("TIMESTAMP"));
}

TEST(TraceTest, EveryWrongFieldIsNamed) {
  EXPECT_THAT(ErrorOf("{\"input_length\": 1, \"output_length\": 1}"), HasSubstr("timestamp"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}"),
              HasSubstr("timestamp"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": 1, \"input_length\": 0, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1.5}"),
              HasSubstr("output_length"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": 1, \"input_length\": 9e18, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": 1, \"input_length\": 99999999999, \"output_length\": 1}"),
              HasSubstr("input_length"));
  EXPECT_THAT(
      ErrorOf("{\"timestamp\": 1, \"input_length\": 513, \"output_length\": 1, \"hash_ids\": [1]}"),
      HasSubstr("hash_ids"));
  EXPECT_THAT(
      ErrorOf(
          "{\"timestamp\": 1, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [\"a\"]}"),
      HasSubstr("hash_ids"));
  EXPECT_THAT(ErrorOf("{\"timestamp\": 1} trailing"), StartsWith("trace:1: "));
}

TEST(TraceTest, WhatIsNoTraceIsAnError) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("no request"));
  EXPECT_THAT(ErrorOf("TIMESTAMP,ContextTokens,GeneratedTokens\n"), HasSubstr("no request"));
  EXPECT_THAT(ErrorOf("hello\n"), HasSubstr("neither"));
  EXPECT_TRUE(absl::IsNotFound(ReadTrace("/no/such/trace.jsonl").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadTrace("/").status()));
}

}  // namespace
}  // namespace terrace::testing
