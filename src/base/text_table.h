// Text tables, as people read them.

#ifndef TERRACE_SRC_BASE_TEXT_TABLE_H_
#define TERRACE_SRC_BASE_TEXT_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace terrace {

using Row = std::vector<std::string>;

// "1234567" as "1,234,567".
std::string Grouped(int64_t value);

// Columns as wide as their widest cell, two spaces apart; the first `left` of them flush left, the
// others flush right.
std::string Align(const std::vector<Row>& rows, size_t left);

}  // namespace terrace

#endif  // TERRACE_SRC_BASE_TEXT_TABLE_H_
