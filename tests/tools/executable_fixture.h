// The program `terrace` as a user runs it: a process in a folder of its own.

#ifndef TERRACE_TESTS_TOOLS_EXECUTABLE_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_EXECUTABLE_FIXTURE_H_

#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/tools/command_outcome.h"

namespace terrace::testing {

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class ExecutableFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    // The build puts the program beside its tests.
    program_ = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "terrace";
    if (!std::filesystem::exists(program_)) GTEST_SKIP() << "there is no " << program_;
    std::string name = ::testing::TempDir() + "terrace_cli_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  CommandOutcome Run(const std::string& arguments) const {
    const std::string command = absl::StrCat("cd '", folder_.string(), "' && '", program_.string(),
                                             "' ", arguments, " > out 2> err < /dev/null");
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(folder_ / "out"),
            ReadFile(folder_ / "err")};
  }

  // The program must exit with `code` and say why in one line that holds `names`.
  void ExpectError(const std::string& arguments, int code, const std::string& names) const {
    SCOPED_TRACE("terrace " + arguments);
    const CommandOutcome outcome = Run(arguments);
    EXPECT_EQ(outcome.exit_code, code);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.err.find("terrace"), 0u) << outcome.err;
    EXPECT_NE(outcome.err.find(names), std::string::npos)
        << "no \"" << names << "\" in: " << outcome.err;
  }

  void WriteFile(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  std::filesystem::path program_;
  std::filesystem::path folder_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_EXECUTABLE_FIXTURE_H_
