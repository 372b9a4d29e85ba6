#include "tools/terrace/trace/trace.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/trace_text.h"

namespace terrace::testing {
namespace {

using ::testing::ElementsAre;

TEST(TraceTest, ReadsMooncakeJsonLines) {
  const auto requests = ParseText(
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
  const auto requests = ParseText(
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
  const auto requests = ParseText(
      "{\"timestamp\": 9, \"input_length\": 1, \"output_length\": 1}\n"
      "{\"timestamp\": 4, \"input_length\": 2, \"output_length\": 1}\n");
  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_EQ((*requests)[0].input_length, 2);
  EXPECT_EQ((*requests)[1].arrival_ms, 5);
}

}  // namespace
}  // namespace terrace::testing
