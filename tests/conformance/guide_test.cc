// docs/guide.md quotes code: every C++ block of it stands, line by line, in a file that is
// compiled.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using Lines = std::vector<std::string>;

// Without indentation and empty lines.
Lines ReadLines(const std::filesystem::path& path) {
  std::ifstream file(path);
  Lines lines;
  for (std::string line; std::getline(file, line);) {
    const size_t begin = line.find_first_not_of(' ');
    if (begin != std::string::npos) lines.push_back(line.substr(begin));
  }
  return lines;
}

TEST(GuideTest, ItsCodeIsCutFromCompiledFiles) {
  const std::filesystem::path root = std::filesystem::path(TERRACE_TEST_DATA_DIR).parent_path();
  const Lines guide = ReadLines(root / "docs" / "guide.md");
  if (guide.empty()) GTEST_SKIP() << "no source tree in " << root;
  std::vector<Lines> sources;
  for (const char* folder : {"examples", "tests"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension == ".cc" || extension == ".h") sources.push_back(ReadLines(entry.path()));
    }
  }

  int blocks = 0;
  for (auto begin = guide.begin(); begin != guide.end(); ++begin) {
    if (*begin != "```cpp") continue;
    const auto end = std::find(begin, guide.end(), "```");
    ++blocks;
    const bool found = std::any_of(sources.begin(), sources.end(), [&](const Lines& source) {
      return std::search(source.begin(), source.end(), begin + 1, end) != source.end();
    });
    EXPECT_TRUE(found) << "no file has the block that begins with: " << *(begin + 1);
    begin = end;
  }
  EXPECT_GE(blocks, 10);
}

}  // namespace
}  // namespace terrace::testing
