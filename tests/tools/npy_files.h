// Bytes of .npy files, for tests.

#ifndef TERRACE_TESTS_TOOLS_NPY_FILES_H_
#define TERRACE_TESTS_TOOLS_NPY_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tools/terrace/npy.h"

namespace terrace::testing {

using tools::FormatNpyHeader;
using tools::MakeNpyArray;
using tools::NpyArray;

inline std::vector<uint8_t> FileBytes(const NpyArray& array) {
  const std::string header = FormatNpyHeader(array);
  std::vector<uint8_t> file(header.begin(), header.end());
  file.insert(file.end(), array.bytes.begin(), array.bytes.end());
  return file;
}

// A file of format 1.0 with this header text and `content` zero bytes.
inline std::vector<uint8_t> FileWithHeader(const std::string& header, size_t content) {
  std::vector<uint8_t> file = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  file.push_back(static_cast<uint8_t>(header.size() & 255));
  file.push_back(static_cast<uint8_t>(header.size() >> 8));
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + content);
  return file;
}

inline NpyArray SmallArray() { return MakeNpyArray<uint16_t>({2, 3}, {1, 2, 3, 4, 5, 0xFFFF}); }

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_NPY_FILES_H_
