// TempFile is a file that is removed when its test ends.

#ifndef TERRACE_TESTS_TOOLS_TEMP_FILE_H_
#define TERRACE_TESTS_TOOLS_TEMP_FILE_H_

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "gtest/gtest.h"

namespace terrace::testing {

// `ending` tells the files of one process apart.
class TempFile {
 public:
  explicit TempFile(const std::string& ending)
      : path_(::testing::TempDir() + "terrace_test_" + std::to_string(getpid()) + ending) {}
  ~TempFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }
  void Write(const std::string& text) const { std::ofstream(path_) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path_).rdbuf();
    return text.str();
  }

 private:
  std::string path_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_TEMP_FILE_H_
