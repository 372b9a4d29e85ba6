#include "tools/terrace/trace/trace.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "src/base/status_macros.h"
#include "terrace/units.h"

namespace terrace::tools {
namespace {

using nlohmann::json;

constexpr char kCsvHeader[] = "TIMESTAMP,ContextTokens,GeneratedTokens";
constexpr double kLatestMs = 1e15;  // some 30,000 years: a clock of whole milliseconds holds it
constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max() / 2;

absl::Status Wrong(const std::string& what) { return absl::InvalidArgumentError(what); }

// Errors: InvalidArgument that names the key.
absl::StatusOr<int32_t> ReadCount(const json& line, const char* key, int64_t least) {
  const auto found = line.find(key);
  if (found == line.end()) return Wrong(absl::StrCat("\"", key, "\" is missing"));
  if (!found->is_number_integer() || *found < least || *found > kMostTokens) {
    return Wrong(absl::StrFormat("\"%s\" is %s, not a whole number from %d to %d", key,
                                 found->dump(), least, kMostTokens));
  }
  return found->get<int32_t>();
}

absl::Status ReadHashIds(const json& line, TraceRequest& request) {
  const auto found = line.find("hash_ids");
  if (found == line.end()) return absl::OkStatus();
  if (!found->is_array()) return Wrong("\"hash_ids\" is not an array");
  const int64_t blocks = CeilDiv(request.input_length, kHashBlockTokens);
  if (static_cast<int64_t>(found->size()) != blocks) {
    return Wrong(absl::StrFormat("\"hash_ids\" has %d ids; %d tokens make %d hash blocks of %d",
                                 found->size(), request.input_length, blocks, kHashBlockTokens));
  }
  for (const json& id : *found) {
    if (!id.is_number_integer()) return Wrong("\"hash_ids\" holds what is not a whole number");
    request.hash_ids.push_back(id.get<int64_t>());
  }
  return absl::OkStatus();
}

absl::StatusOr<TraceRequest> ParseJsonLine(const std::string& text) {
  const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (line.is_discarded()) return Wrong("not a whole JSON object (is the line truncated?)");
  if (!line.is_object()) return Wrong("not a JSON object");
  TraceRequest request;
  const auto timestamp = line.find("timestamp");
  if (timestamp == line.end()) return Wrong("\"timestamp\" is missing");
  if (!timestamp->is_number() || !(timestamp->get<double>() >= 0) ||
      timestamp->get<double>() > kLatestMs) {
    return Wrong(absl::StrFormat("\"timestamp\" is %s, not milliseconds from 0 to %g",
                                 timestamp->dump(), kLatestMs));
  }
  request.arrival_ms = timestamp->get<double>();
  TERRACE_ASSIGN_OR_RETURN(request.input_length, ReadCount(line, "input_length", 1));
  TERRACE_ASSIGN_OR_RETURN(request.output_length, ReadCount(line, "output_length", 0));
  TERRACE_RETURN_IF_ERROR(ReadHashIds(line, request));
  return request;
}

// "2023-11-16 18:15:46.6805900" to milliseconds since 1970.
absl::StatusOr<double> ParseTimestamp(const std::string& text) {
  int year = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0;
  double second = 0;
  int used = 0;
  const int fields = std::sscanf(text.c_str(), "%4d-%2u-%2u %2u:%2u:%lf%n", &year, &month, &day,
                                 &hour, &minute, &second, &used);
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month),
                                         std::chrono::day(day)};
  if (fields != 6 || used != static_cast<int>(text.size()) || !date.ok() || hour > 23 ||
      minute > 59 || !(second >= 0 && second < 61)) {
    return Wrong(absl::StrCat("TIMESTAMP is \"", text, "\", not \"YYYY-MM-DD hh:mm:ss.s\""));
  }
  const auto days = std::chrono::sys_days(date).time_since_epoch().count();
  return 1000.0 * (86400.0 * days + 3600.0 * hour + 60.0 * minute + second);
}

absl::StatusOr<int32_t> ParseCount(const std::string& text, const char* column, int64_t least) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < least || value > kMostTokens) {
    return Wrong(absl::StrFormat("%s is \"%s\", not a whole number from %d to %d", column, text,
                                 least, kMostTokens));
  }
  return static_cast<int32_t>(value);
}

absl::StatusOr<TraceRequest> ParseCsvLine(const std::string& text) {
  const std::vector<std::string> columns = absl::StrSplit(text, ',');
  if (columns.size() != 3) {
    return Wrong(absl::StrFormat("%d columns, not the 3 of %s", columns.size(), kCsvHeader));
  }
  TraceRequest request;
  TERRACE_ASSIGN_OR_RETURN(request.arrival_ms, ParseTimestamp(columns[0]));
  TERRACE_ASSIGN_OR_RETURN(request.input_length, ParseCount(columns[1], "ContextTokens", 1));
  TERRACE_ASSIGN_OR_RETURN(request.output_length, ParseCount(columns[2], "GeneratedTokens", 0));
  return request;
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> ParseTrace(std::istream& in, const std::string& name) {
  enum { kUnknown, kJson, kCsv } format = kUnknown;
  std::vector<TraceRequest> requests;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    absl::StripAsciiWhitespace(&line);
    if (line.empty()) continue;
    if (format == kUnknown) {
      if (line == kCsvHeader) {
        format = kCsv;
        continue;
      }
      if (line.front() != '{') {
        return Wrong(
            absl::StrFormat("%s:%d: neither a JSON object (Mooncake) nor the header %s (Azure)",
                            name, number, kCsvHeader));
      }
      format = kJson;
    }
    absl::StatusOr<TraceRequest> request =
        format == kJson ? ParseJsonLine(line) : ParseCsvLine(line);
    if (!request.ok()) {
      return Wrong(absl::StrFormat("%s:%d: %s", name, number, request.status().message()));
    }
    requests.push_back(*std::move(request));
  }
  if (in.bad()) return absl::DataLossError(absl::StrCat(name, ": reading failed"));
  if (requests.empty()) return Wrong(absl::StrCat(name, ": holds no request"));

  std::stable_sort(
      requests.begin(), requests.end(),
      [](const TraceRequest& a, const TraceRequest& b) { return a.arrival_ms < b.arrival_ms; });
  const double start = requests.front().arrival_ms;
  for (TraceRequest& request : requests) request.arrival_ms -= start;
  return requests;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return Wrong(absl::StrCat(path, ": is a directory, not a trace"));
  }
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened; does it exist?"));
  return ParseTrace(in, path);
}

}  // namespace terrace::tools
