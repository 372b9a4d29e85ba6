// What tests of `terrace capacity` share: a command line, and a file that ends with its test.

#ifndef TERRACE_TESTS_TOOLS_CAPACITY_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_CAPACITY_FIXTURE_H_

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/tools/run_command.h"
#include "tools/terrace/commands/capacity_command.h"

namespace terrace::testing {

using tools::AddCapacityCommand;

inline CommandOutcome Terrace(const std::vector<std::string>& arguments) {
  return RunCommand(&AddCapacityCommand, arguments);
}

class CapacityFixture : public ::testing::Test {
 protected:
  ~CapacityFixture() override { std::remove(path_.c_str()); }

  void WriteFile(const std::string& text) { std::ofstream(path_) << text; }
  nlohmann::json ReadJson() { return nlohmann::json::parse(std::ifstream(path_)); }

  const std::string path_ =
      ::testing::TempDir() + "terrace_capacity_" + std::to_string(getpid()) + ".json";
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_CAPACITY_FIXTURE_H_
