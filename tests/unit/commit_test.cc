// Commit: ids may be one ahead of the rows. More are a mistake, unless the sequence says otherwise.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

void ExpectRefused(PrefixFixture& f, SequenceId id, int32_t count, const std::string& words = "") {
  const SequenceInfo before = f.Info(id);
  const absl::Status status = f.ledger().Commit(id, Text(5, count));
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find(words), std::string::npos) << status;
  EXPECT_EQ(f.Info(id), before);
  f.Check();
}

TEST(CommitTest, IdsBeforeAnyRowAreRefused) {
  PrefixFixture f({});
  const SequenceId a = f.Start({});
  ExpectRefused(f, a, 500, "0 rows and 0 token ids: 500 more are not in 0..1");
  f.Commit(a, {});
  f.Commit(a, {7});  // the first row's
  ExpectRefused(f, a, 1);
}

TEST(CommitTest, IdsBehindAPromptThatIsNotFedAreRefused) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Append({{a, 299}});
  ExpectRefused(f, a, 1);
  f.Commit(a, {});
  f.Append({{a, 1}});
  ExpectRefused(f, a, 2);
  f.Commit(a, {7});
  ExpectRefused(f, a, 1);
  EXPECT_EQ(f.Info(a).known, 301);
}

TEST(CommitTest, LateIdsAndDraftsMayCome) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 10));
  f.Feed(a);
  f.Append({{a, 1}});
  f.Append({{a, 1}});
  ExpectRefused(f, a, 4);
  const Tokens fed = f.model().Find(a)->tokens;
  f.Commit(a, {fed[10], fed[11], 3});
  f.Draft(a, {4, 5, 6});
  f.Truncate(a, 15);
  ExpectRefused(f, a, 4);
  f.Commit(a, {4, 5, 9});
}

TEST(CommitTest, ASequenceMaySayThatItsIdsRunAhead) {
  PrefixFixture f({});
  const SequenceId a = f.Allocate({.tokens = Text(1, 100), .ids_ahead = true}).id;
  f.Commit(a, Text(2, 500));
  EXPECT_EQ(f.Info(a).known, 600);
  f.Feed(a);
  const SequenceId b = f.Fork(a);  // which inherits it
  f.Commit(b, Text(3, 200));
  f.Feed(b);
  f.Abandon(1);
  f.Commit(a, Text(4, 300));
  f.Feed(a);
  EXPECT_EQ(f.ledger().Commit(a, Text(6, 9000)).code(), StatusCode::kInvalidArgument);
}

TEST(CommitTest, AForkOfASequenceThatDoesNotSaySoMayNot) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 100));
  f.Feed(a);
  const SequenceId b = f.Fork(a);
  ExpectRefused(f, b, 2);
  f.Commit(b, {7});
}

// Ids of steps that ran may come when the rows are gone.
TEST(CommitTest, AfterAbandonTheIdsOfLostRowsMayCome) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  f.Append({{a, 1}});
  f.Append({{a, 1}});  // lost
  EXPECT_EQ(f.Abandon(3).sequences[0].length, 256);
  ExpectRefused(f, a, 4);
  f.Commit(a, {7});
  f.Commit(a, {8, 9});
  ExpectRefused(f, a, 1);
  f.Append({{a, 10}});
  f.Abandon(3);
  f.Feed(a);
  EXPECT_EQ(f.Info(a).length, 303);
  f.Commit(a, {10});
  ExpectRefused(f, a, 1);
}

TEST(CommitTest, AfterDistrustTheIdsOfLostRowsMayCome) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 300));
  f.Feed(a);
  f.Distrust({{a, 0}});
  EXPECT_EQ(f.Info(a).length, 0);
  f.Commit(a, {7});
  ExpectRefused(f, a, 1);
}

}  // namespace
}  // namespace terrace::testing
