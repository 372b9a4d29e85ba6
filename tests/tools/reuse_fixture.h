// A workload whose requests share prefixes, made once for all tests of a process.

#ifndef TERRACE_TESTS_TOOLS_REUSE_FIXTURE_H_
#define TERRACE_TESTS_TOOLS_REUSE_FIXTURE_H_

#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tools/terrace/trace/trace.h"
#include "tools/terrace/trace/workload.h"

namespace terrace::testing {

using tools::MakeWorkload;
using tools::TraceRequest;

class ReuseFixture : public ::testing::Test {
 protected:
  static const std::vector<TraceRequest>& Workload() {
    static const std::vector<TraceRequest> requests = [] {
      auto made = MakeWorkload({.requests = 1000});
      EXPECT_TRUE(made.ok()) << made.status();
      return *std::move(made);
    }();
    return requests;
  }
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_REUSE_FIXTURE_H_
