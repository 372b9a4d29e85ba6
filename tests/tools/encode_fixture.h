// What tests of `terrace encode` and `terrace decode` share: a command line, a folder, golden
// arrays.

#ifndef TERRACE_TESTS_TOOLS_ENCODE_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_ENCODE_FIXTURE_H_

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/support/golden.h"
#include "tests/tools/run_command.h"
#include "tools/terrace/commands/encode_command.h"
#include "tools/terrace/npy.h"

namespace terrace::testing {

using tools::AddDecodeCommand;
using tools::AddEncodeCommand;
using tools::NpyArray;
using tools::ReadNpy;
using tools::WriteNpy;

// What a command line of encode or decode does.
inline CommandOutcome RunLine(const std::string& line) {
  const auto add = [](CLI::App& app, int* exit_code) {
    AddEncodeCommand(app, exit_code);
    AddDecodeCommand(app, exit_code);
  };
  return RunCommand(add, absl::StrSplit(line, ' ', absl::SkipEmpty()));
}

class EncodeFixture : public GoldenTest {
 protected:
  void SetUp() override {
    GoldenTest::SetUp();
    folder_ = ::testing::TempDir() + "/encode_test." + std::to_string(getpid());
    ASSERT_EQ(mkdir(folder_.c_str(), 0700), 0);
  }
  void TearDown() override {
    for (const std::string& name : temporary_) unlink(name.c_str());
    rmdir(folder_.c_str());
  }

  std::string Temporary(const std::string& name) {
    temporary_.push_back(folder_ + "/" + name);
    return temporary_.back();
  }
  std::string Save(const std::string& name, const NpyArray& array) {
    const std::string path = Temporary(name);
    EXPECT_TRUE(WriteNpy(path, array).ok());
    return path;
  }
  static NpyArray Load(const std::string& path) {
    absl::StatusOr<NpyArray> array = ReadNpy(path);
    EXPECT_TRUE(array.ok()) << array.status();
    return array.ok() ? *std::move(array) : NpyArray{};
  }

  // Encodes golden rows and decodes golden pages; both must equal the golden arrays.
  void ExpectGolden(const std::string& options, const std::string& rows, const std::string& table,
                    const std::string& pages, const std::string& dequant) {
    const std::string rope = table.empty() ? "" : " --rope-table " + GoldenPath(table) + ".npy";
    const std::string out = Temporary("out.npy");
    const CommandOutcome encoded =
        RunLine("encode " + options + rope + " " + GoldenPath(rows) + ".npy " + out);
    EXPECT_EQ(encoded.exit_code, 0) << encoded.err;
    const NpyArray written = Load(out);
    EXPECT_EQ(written.shape, Golden(pages).shape);
    EXPECT_TRUE(written.bytes == Golden(pages).bytes);

    const CommandOutcome decoded =
        RunLine("decode " + options + " " + GoldenPath(pages) + ".npy " + out);
    EXPECT_EQ(decoded.exit_code, 0) << decoded.err;
    NpyArray read = Load(out);
    const NpyArray expected = Golden(dequant);
    ASSERT_GE(read.bytes.size(), expected.bytes.size());
    for (size_t i = expected.bytes.size(); i < read.bytes.size(); ++i) {
      ASSERT_EQ(read.bytes[i], 0) << "rows past the last one decode to zero";
    }
    read.bytes.resize(expected.bytes.size());
    EXPECT_TRUE(read.bytes == expected.bytes);
  }

  std::string folder_;
  std::vector<std::string> temporary_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_ENCODE_FIXTURE_H_
