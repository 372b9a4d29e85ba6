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
// columns are flush left, the others flush right.
std::string Align(const std::vector<Cells>& lines, size_t left);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BASE_TEXT_TABLE_H_
