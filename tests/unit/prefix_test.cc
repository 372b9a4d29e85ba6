#include "terrace/prefix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

// By name: one value, or one for each pool.
using Figures = std::map<std::string, std::vector<int64_t>>;

constexpr size_t kNumFields = sizeof(PrefixFigures) / sizeof(int64_t);

// Every field has a value of its own: fields have no names here, so a new one is in it too.
PrefixFigures Distinct() {
  std::array<int64_t, kNumFields> fields;
  for (size_t i = 0; i < kNumFields; ++i) fields[i] = 1'000'000'007 * (i + 1);
  fields[kNumFields - 1] = -1;  // a sign is kept too
  return std::bit_cast<PrefixFigures>(fields);
}

std::vector<int64_t> Numbers(absl::string_view text) {
  std::vector<int64_t> numbers;
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(", []{}:"), absl::SkipEmpty())) {
    numbers.push_back(0);
    EXPECT_TRUE(absl::SimpleAtoi(word, &numbers.back())) << word;
  }
  return numbers;
}

// Of one object whose members are whole numbers or arrays of them, which is also checked.
Figures ParseJson(const std::string& json) {
  const std::string member = "\"[a-z_]+\": (-?[0-9]+|\\[-?[0-9]+(, -?[0-9]+)*\\])";
  EXPECT_THAT(json, MatchesRegex("\\{" + member + "(, " + member + ")*\\}"));
  Figures figures;
  const std::vector<std::string> words = absl::StrSplit(json, '"');  // {, name, : value, name, ...
  for (size_t i = 1; i + 1 < words.size(); i += 2) {
    EXPECT_TRUE(figures.emplace(words[i], Numbers(words[i + 1])).second) << words[i];
  }
  return figures;
}

// Prometheus' text format, version 0.0.4: for each metric a HELP line, a TYPE line, its samples.
Figures ParsePrometheus(const std::string& text) {
  EXPECT_TRUE(text.ends_with('\n'));
  Figures figures;
  std::string name;  // of the metric at hand
  std::string key;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      EXPECT_THAT(line, MatchesRegex("# HELP terrace_prefix_[a-z_]+ [^\\]+"));
      name = std::vector<std::string>(absl::StrSplit(line, ' '))[2];
      std::getline(lines, line);
      EXPECT_EQ(line, "# TYPE " + name + (name.ends_with("_total") ? " counter" : " gauge"));
      key = absl::StrReplaceAll(name, {{"terrace_prefix_", ""}, {"_total", ""}});
      EXPECT_TRUE(figures.emplace(key, std::vector<int64_t>()).second) << key;
      continue;
    }
    std::vector<int64_t>& values = figures[key];
    const std::string label = absl::StrCat("{pool=\"", values.size(), "\"} ");
    const bool labelled = line.starts_with(name + label);
    EXPECT_TRUE(labelled || (line.starts_with(name + " ") && values.empty())) << line;
    const std::vector<int64_t> value = Numbers(line.substr(line.find(' ')));
    EXPECT_EQ(value.size(), 1u) << line;
    values.push_back(value.at(0));
  }
  return figures;
}

Figures ParseTable(const std::string& table) {
  Figures figures;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> cells = absl::StrSplit(line, "  ", absl::SkipEmpty());
    EXPECT_EQ(cells.size(), 3u) << line;
    figures[cells[0]] = Numbers(absl::StrReplaceAll(cells.back(), {{",", ""}}));
  }
  return figures;
}

TEST(PrefixReuseTest, EveryFieldIsInTheFiguresAndNothingElseButWhatWasSaved) {
  const PrefixFigures figures = Distinct();
  const auto fields = std::bit_cast<std::array<int64_t, kNumFields>>(figures);
  std::vector<int64_t> expected(fields.begin(), fields.end());
  expected.push_back(figures.saved_tokens());
  std::vector<int64_t> printed;
  for (const auto& [name, values] : ParseJson(ToJson(figures))) {
    printed.insert(printed.end(), values.begin(), values.end());
  }
  EXPECT_THAT(printed, ::testing::UnorderedElementsAreArray(expected));
}

TEST(PrefixReuseTest, AllFormatsHoldTheSameFigures) {
  for (const PrefixFigures& figures : {Distinct(), PrefixFigures{}}) {
    const Figures expected = ParseJson(ToJson(figures));
    EXPECT_EQ(ParsePrometheus(ToPrometheus(figures)), expected);
    EXPECT_EQ(ParseTable(ToTable(figures)), expected);
  }
}

TEST(PrefixReuseTest, EachFigureStandsUnderItsName) {
  PrefixFigures figures;
  figures.matched_tokens = 54'082'048;
  figures.refed_tokens = 82'048;
  figures.indexed_chunks = 12;
  figures.evicted_blocks[2] = 7;
  EXPECT_THAT(ToJson(figures), HasSubstr("\"saved_tokens\": 54000000, "));
  EXPECT_THAT(ToJson(figures), HasSubstr("\"evicted_blocks\": [0, 0, 7, 0, 0, 0, 0, 0]"));
  EXPECT_THAT(ToPrometheus(figures), HasSubstr("\nterrace_prefix_matched_tokens_total 54082048\n"));
  EXPECT_THAT(ToPrometheus(figures), HasSubstr("\nterrace_prefix_indexed_chunks 12\n"));
  EXPECT_THAT(ToPrometheus(figures),
              HasSubstr("\nterrace_prefix_evicted_blocks_total{pool=\"2\"} 7\n"));
  EXPECT_THAT(ToTable(figures), ::testing::ContainsRegex("matched_tokens  .*  54,082,048\n"));
}

TEST(PrefixReuseTest, AMatchSavesWhatItNeedNotFeedAgain) {
  EXPECT_EQ((PrefixMatch{.matched = 1024, .skipped = 512, .refed = 512}).saved(), 512);
}

}  // namespace
}  // namespace terrace::testing
