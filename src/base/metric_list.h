// A list of Metric says how the figures of a struct are written, as JSON and in Prometheus' text
// format: a figure is added by adding a line to the list.

#ifndef TERRACE_SRC_BASE_METRIC_LIST_H_
#define TERRACE_SRC_BASE_METRIC_LIST_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace terrace::internal {

template <typename T>
struct Metric {
  const char* name;    // in JSON
  const char* family;  // Prometheus' name; ends in _total iff it is a counter
  const char* label;   // that tells it from others of its family, as state="free"; or ""
  const char* help;    // of the family: where several metrics follow each other, the first's counts
  int64_t (*value)(const T& of);
};

// The lines before a family's samples.
inline void AppendFamily(const char* family, const char* help, std::string* text) {
  const char* const type = absl::EndsWith(family, "_total") ? "counter" : "gauge";
  absl::StrAppend(text, "# HELP ", family, " ", help, "\n# TYPE ", family, " ", type, "\n");
}

// `labels` without braces, in any number.
inline void AppendSample(const char* family, const std::vector<std::string>& labels, int64_t value,
                         std::string* text) {
  absl::StrAppend(text, family);
  if (!labels.empty()) absl::StrAppend(text, "{", absl::StrJoin(labels, ","), "}");
  absl::StrAppend(text, " ", value, "\n");
}

// The figures of all `items`, family by family. Item i has the label `item`="i"; none if that is "".
// REQUIRES: metrics of one family follow each other.
template <typename T>
void AppendPrometheus(absl::Span<const Metric<T>> metrics, absl::Span<const T> items,
                      absl::string_view item, std::string* text) {
  for (size_t begin = 0; begin < metrics.size();) {
    const absl::string_view family = metrics[begin].family;
    size_t end = begin;
    while (end < metrics.size() && metrics[end].family == family) ++end;
    AppendFamily(metrics[begin].family, metrics[begin].help, text);
    for (size_t i = 0; i < items.size(); ++i) {
      for (const Metric<T>& metric : metrics.subspan(begin, end - begin)) {
        std::vector<std::string> labels;
        if (!item.empty()) labels.push_back(absl::StrCat(item, "=\"", i, "\""));
        if (*metric.label != '\0') labels.push_back(metric.label);
        AppendSample(metric.family, labels, metric.value(items[i]), text);
      }
    }
    begin = end;
  }
}

// Members of a JSON object: "name": 1, "other": 2
template <typename T>
std::string JsonMembers(absl::Span<const Metric<T>> metrics, const T& item) {
  return absl::StrJoin(metrics, ", ", [&](std::string* out, const Metric<T>& metric) {
    absl::StrAppend(out, "\"", metric.name, "\": ", metric.value(item));
  });
}

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BASE_METRIC_LIST_H_
