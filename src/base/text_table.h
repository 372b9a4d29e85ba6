// Text tables, as people read them.

#ifndef TERRACE_SRC_BASE_TEXT_TABLE_H_
#define TERRACE_SRC_BASE_TEXT_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace terrace::internal {

// The cells of one line.
using Cells = std::vector<std::string>;

// 1234567 as "1,234,567", and -1234567 as "-1,234,567".
std::string WithCommas(int64_t number);

// Lines of text with columns as wide as their widest cell, two spaces apart. The first `left`
// columns are flush left, the others flush right. Where they are wider than `width`, columns that
// do not fit follow in a table of their own, each beside the first column; 0 = any width.
std::string Align(const std::vector<Cells>& lines, size_t left, size_t width = 0);

// `line` broken at spaces so that no piece is wider than `width`; all but the first begin with
// `indent` spaces. A word that is wider stays whole. 0 = any width.
std::string Wrap(const std::string& line, size_t width, size_t indent);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BASE_TEXT_TABLE_H_
