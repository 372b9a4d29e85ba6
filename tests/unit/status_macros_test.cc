#include "src/base/status_macros.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/check.h"

namespace terrace {
namespace {

absl::Status Fail() { return absl::NotFoundError("no such thing"); }

TEST(StatusMacrosTest, ReturnIfErrorReturnsAnErrorAndGoesOnWithout) {
  int evaluated = 0;
  bool went_on = false;
  const auto run = [&](absl::Status status) -> absl::Status {
    TERRACE_RETURN_IF_ERROR((++evaluated, std::move(status)));
    went_on = true;
    return absl::OkStatus();
  };
  EXPECT_EQ(run(Fail()), Fail());
  EXPECT_FALSE(went_on);
  EXPECT_EQ(evaluated, 1);
  EXPECT_TRUE(run(absl::OkStatus()).ok());
  EXPECT_TRUE(went_on);
  EXPECT_EQ(evaluated, 2);
}

TEST(StatusMacrosTest, ReturnIfErrorIsOneStatement) {
  const auto run = [](bool fails) -> absl::StatusOr<int> {
    if (fails)
      TERRACE_RETURN_IF_ERROR(Fail());
    else
      TERRACE_RETURN_IF_ERROR(absl::OkStatus());
    return 7;
  };
  EXPECT_EQ(run(true).status(), Fail());
  EXPECT_EQ(run(false).value(), 7);
}

TEST(StatusMacrosTest, AssignOrReturnDeclaresAndAssigns) {
  const auto run = [](absl::StatusOr<int> first,
                      absl::StatusOr<int> second) -> absl::StatusOr<int> {
    TERRACE_ASSIGN_OR_RETURN(const int declared, std::move(first));
    int assigned = 0;
    TERRACE_ASSIGN_OR_RETURN(assigned, std::move(second));
    return 10 * declared + assigned;
  };
  EXPECT_EQ(run(1, 2).value(), 12);
  EXPECT_EQ(run(Fail(), 2).status(), Fail());
  EXPECT_EQ(run(1, Fail()).status(), Fail());
}

TEST(StatusMacrosTest, AssignOrReturnMovesTheValue) {
  const auto run = [](absl::StatusOr<std::unique_ptr<int>> value) -> absl::Status {
    TERRACE_ASSIGN_OR_RETURN(const std::unique_ptr<int> owned, std::move(value));
    EXPECT_EQ(*owned, 5);
    return absl::OkStatus();
  };
  EXPECT_TRUE(run(std::make_unique<int>(5)).ok());
  EXPECT_EQ(run(Fail()), Fail());
}

TEST(CheckOkDeathTest, PrintsTheExpressionAndTheMessage) {
  TERRACE_CHECK_OK(absl::OkStatus());
  TERRACE_CHECK_OK(absl::StatusOr<int>(3));
  EXPECT_DEATH(TERRACE_CHECK_OK(Fail()), "check failed: Fail\\(\\) is OK.*no such thing");
  const absl::StatusOr<int> failed = Fail();
  EXPECT_DEATH(TERRACE_CHECK_OK(failed), "no such thing");
}

}  // namespace
}  // namespace terrace
