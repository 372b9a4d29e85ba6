#include "src/base/text_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace terrace::internal {
namespace {

// Column 0 and columns [begin, the result) are at most `width` wide, or `begin` alone is.
size_t FitColumns(const std::vector<size_t>& widths, size_t begin, size_t width) {
  size_t used = widths[0];
  size_t end = begin;
  while (end < widths.size() && (width == 0 || end == begin || used + 2 + widths[end] <= width)) {
    used += 2 + widths[end++];
  }
  return end;
}

void AppendLine(const Cells& cells, const std::vector<size_t>& widths, size_t begin, size_t end,
                size_t left, std::string& text) {
  std::string line;
  const auto append = [&](size_t c) {
    const std::string space(widths[c] - cells[c].size(), ' ');
    absl::StrAppend(&line, c == 0 ? "" : "  ", c < left ? cells[c] + space : space + cells[c]);
  };
  if (!cells.empty()) append(0);
  for (size_t c = begin; c < std::min(end, cells.size()); ++c) append(c);
  line.erase(line.find_last_not_of(' ') + 1);
  absl::StrAppend(&text, line, "\n");
}

}  // namespace

std::string WithCommas(int64_t number) {
  std::string text = absl::StrCat(number);
  const int first_digit = number < 0 ? 1 : 0;
  for (int i = static_cast<int>(text.size()) - 3; i > first_digit; i -= 3) text.insert(i, 1, ',');
  return text;
}

std::string Align(const std::vector<Cells>& lines, size_t left, size_t width) {
  std::vector<size_t> widths;
  for (const Cells& cells : lines) {
    widths.resize(std::max(widths.size(), cells.size()), 0);
    for (size_t c = 0; c < cells.size(); ++c) widths[c] = std::max(widths[c], cells[c].size());
  }
  if (widths.empty()) return std::string(lines.size(), '\n');
  std::string text;
  size_t begin = 1;
  do {
    const size_t end = FitColumns(widths, begin, width);
    if (begin > 1) text += "\n";
    for (const Cells& cells : lines) AppendLine(cells, widths, begin, end, left, text);
    begin = end;
  } while (begin < widths.size());
  return text;
}

std::string Wrap(const std::string& line, size_t width, size_t indent) {
  if (width == 0) return line;
  std::string text;
  std::string rest = line;
  size_t first = 0;  // where a break may be: never inside the indent
  while (rest.size() > width) {
    size_t space = rest.rfind(' ', width);
    // A unit stays with its number.
    if (space != std::string::npos && space > 0 && rest[space + 1] == '%') {
      space = rest.rfind(' ', space - 1);
    }
    if (space == std::string::npos || space <= first) space = rest.find(' ', width);
    if (space == std::string::npos) break;
    const size_t next = rest.find_first_not_of(' ', space);
    if (next == std::string::npos) break;
    const size_t end = rest.find_last_not_of(' ', space);
    absl::StrAppend(&text, rest.substr(0, end + 1), "\n");
    rest = std::string(indent, ' ') + rest.substr(next);
    first = indent;
  }
  return text + rest;
}

}  // namespace terrace::internal
