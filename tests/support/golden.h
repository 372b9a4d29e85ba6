// Golden vectors for tests: .npy files under <test data>/golden. The test data is the folder that
// the environment variable TERRACE_TEST_DATA names, or tests/ of the source tree.

#ifndef TERRACE_TESTS_SUPPORT_GOLDEN_H_
#define TERRACE_TESTS_SUPPORT_GOLDEN_H_

#include <sys/stat.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tools/terrace/npy.h"

namespace terrace::testing {

using tools::NpyArray;
using tools::NpyType;
using tools::ReadNpy;

inline std::string GoldenPath(const std::string& name) {
  const char* data = std::getenv("TERRACE_TEST_DATA");
  return std::string(data != nullptr ? data : TERRACE_TEST_DATA_DIR) + "/golden/" + name;
}

// The array of golden/<name>.npy; a failure of the test if it cannot be read.
inline NpyArray Golden(const std::string& name) {
  absl::StatusOr<NpyArray> array = ReadNpy(GoldenPath(name) + ".npy");
  EXPECT_TRUE(array.ok()) << array.status();
  return array.ok() ? *std::move(array) : NpyArray{};
}

// A fixture that skips its tests where the vectors are absent.
class GoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    struct stat status;
    if (stat(GoldenPath("").c_str(), &status) != 0) {
      GTEST_SKIP() << "no golden vectors in " << GoldenPath("")
                   << "; name the folder that holds golden/ in TERRACE_TEST_DATA";
    }
  }
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_GOLDEN_H_
