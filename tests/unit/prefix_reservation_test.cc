// Room that a sequence was admitted with: nobody else takes it, whatever they do.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

Limits WithContext(int32_t tokens) {
  return {.max_sequences = 8,
          .max_step_tokens = 4096,
          .max_drafts = 4,
          .max_context_tokens = tokens,
          .store_whole_chunk = false};
}

absl::Status TryAllocate(PrefixFixture& f, const SequenceRequest& request) {
  const absl::Status status = f.ledger().AllocateSequence(request).status();
  f.Check();
  return status;
}

// The prompt of 4,108 tokens needs 17 of 19 free chunks, and is fed while others decode.
TEST(PrefixReservationTest, AnAdmittedPromptIsFedToItsEndBesideDecodes) {
  for (const bool reserves : {false, true}) {
    PrefixFixture f({.full_blocks = 21});
    const SequenceId a = f.Start(Text(1, 250)), b = f.Start(Text(2, 250));
    f.Append({{a, 250}, {b, 250}});
    const int32_t reserve = reserves ? 4108 : 0;
    const SequenceId p = f.Allocate({.tokens = Text(3, 4108), .reserve_tokens = reserve}).id;
    EXPECT_EQ(f.Use(1).reserved, reserves ? 17 : 0);
    // The others go on for five chunks each, or as far as they get, before the prompt's last piece.
    f.Append({{p, 3000}});
    int32_t said = 0;
    for (const SequenceId other : {a, b}) {
      for (int i = 0; i < 1280; ++i) {
        f.Commit(other, {++said});
        if (!f.TryAppend({{other, 1}}).ok()) break;
      }
    }
    EXPECT_EQ(f.TryAppend({{p, 1108}}).ok(), reserves);
  }
}

TEST(PrefixReservationTest, AnothersStepDoesNotTakeIt) {
  PrefixFixture f({.full_blocks = 20});
  const SequenceId a = f.Allocate({.tokens = Text(1, 2560), .reserve_tokens = 2560}).id;
  const SequenceId b = f.Start(Text(2, 4000));
  EXPECT_EQ(f.Use(1).reserved, 10);
  f.Append({{b, 2560}});
  const absl::Status status = f.TryAppend({{b, 1}}).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("10 reserved for others"));
  const Shortage shortage = *ShortageOf(status);
  EXPECT_EQ(shortage.pool, PoolIndex(1));
  EXPECT_EQ(shortage.missing_blocks, 1);
  EXPECT_EQ(shortage.free_blocks, 10);
  EXPECT_EQ(shortage.reserved_blocks, 10);
  EXPECT_EQ(shortage.retire, PlanNumber(0));
  f.Append({{a, 2000}});
  EXPECT_EQ(f.Use(1).reserved, 2);
  f.Feed(a);
  EXPECT_EQ(f.Use(1).reserved, 0);
  f.Free(a);
  f.Append({{b, 1}});
}

TEST(PrefixReservationTest, ABatchKeepsWhatOneOfItsSequencesHasSetAside) {
  PrefixFixture f({.full_blocks = 12});
  const SequenceId a = f.Allocate({.tokens = Text(1, 2560), .reserve_tokens = 2560}).id;
  const SequenceId b = f.Start(Text(2, 2500));
  const Shortage shortage = *ShortageOf(f.TryAppend({{a, 256}, {b, 600}}).status());
  EXPECT_EQ(shortage.reserved_blocks, 0);  // its own
  EXPECT_EQ(shortage.missing_blocks, 1);
  f.Append({{a, 256}, {b, 512}});
  EXPECT_EQ(f.Use(1).reserved, 9);
}

TEST(PrefixReservationTest, AReservationWithoutRoomIsRefused) {
  PrefixFixture f({.full_blocks = 20});
  const SequenceId a = f.Allocate({.tokens = Text(1, 100), .reserve_tokens = 2560}).id;
  const SequenceId b = f.Start(Text(2, 300));
  f.Feed(b);
  const absl::Status status =
      TryAllocate(f, {.tokens = Text(3, 100), .reserve_tokens = 9 * 256 - 1});
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("pool 1 (ratio 4) lacks 1 of the 9 blocks "
                                                       "this reservation needs"));
  const Shortage shortage = *ShortageOf(status);
  EXPECT_TRUE(shortage.retry_later);
  EXPECT_EQ(shortage.missing_blocks, 1);
  EXPECT_EQ(shortage.preemptible_blocks, 2);
  EXPECT_EQ(f.ledger().num_sequences(), 2);
  EXPECT_EQ(f.Use(1).reserved, 10);
  f.Allocate({.tokens = Text(3, 100), .reserve_tokens = 8 * 256});
  f.Free(a);
  EXPECT_EQ(f.Use(1).reserved, 8);
}

TEST(PrefixReservationTest, OneLargerThanThePoolIsRefusedForGood) {
  PrefixFixture f({.full_blocks = 10});
  const absl::Status status = TryAllocate(f, {.tokens = Text(1, 100), .reserve_tokens = 2561});
  EXPECT_EQ(status.code(), StatusCode::kOutOfRange);
  EXPECT_FALSE(ShortageOf(status)->retry_later);
  EXPECT_EQ(TryAllocate(f, {.tokens = {}, .reserve_tokens = -1}).code(),
            StatusCode::kInvalidArgument);
  const absl::Status beyond = TryAllocate(f, {.tokens = {}, .reserve_tokens = 8193});
  EXPECT_EQ(beyond.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(beyond.message()), HasSubstr("reserve_tokens is 8193, not in 0..8192"));
}

TEST(PrefixReservationTest, MatchedChunksNeedNoRoomTwice) {
  PrefixFixture f({.full_blocks = 10});
  f.Run({.tokens = Text(1, 1100)});
  EXPECT_EQ(f.Use(1).cached, 4);
  const Admission a = f.Allocate({.tokens = Text(1, 2560), .reserve_tokens = 2560});
  EXPECT_EQ(a.match.matched, 1024);
  EXPECT_EQ(f.Use(1).reserved, 6);
  f.Feed(a.id);
}

TEST(PrefixReservationTest, CachedContentStaysUntilItIsNeeded) {
  PrefixFixture f({.full_blocks = 10});
  f.Run({.tokens = Text(1, 1100)});
  const SequenceId a = f.Allocate({.tokens = Text(2, 2560), .reserve_tokens = 2560}).id;
  EXPECT_EQ(f.Use(1).cached, 4);
  f.Append({{a, 6 * 256}});
  EXPECT_EQ(f.Use(1).cached, 4);
  f.Feed(a);
  EXPECT_EQ(f.Use(1).cached, 0);
}

TEST(PrefixReservationTest, AMatchTakesNoCachedBlockThatIsSetAside) {
  PrefixFixture f({.full_blocks = 10});
  f.Run({.tokens = Text(1, 1100)});
  const SequenceId a = f.Allocate({.tokens = Text(2, 2000), .reserve_tokens = 2000}).id;  // 8
  EXPECT_EQ(f.ledger().Probe({.tokens = Text(1, 1100)})->matched, 512);
  const absl::StatusOr<Admission> b = f.ledger().AllocateSequence({.tokens = Text(1, 1100)});
  ASSERT_TRUE(b.ok());
  EXPECT_EQ(b->match.matched, 512);
  f.ledger().CheckInvariants();
  EXPECT_TRUE(f.ledger().Append({{{a, 2000}}}).ok());
}

TEST(PrefixReservationTest, OutputIsCovered) {
  PrefixFixture f({.full_blocks = 10});
  const SequenceId a = f.Allocate({.tokens = Text(1, 250), .reserve_tokens = 1024}).id;
  f.Feed(a);
  const SequenceId b = f.Start(Text(2, 2500));
  f.Append({{b, 6 * 256}});
  EXPECT_FALSE(f.TryAppend({{b, 1}}).ok());
  f.Decode(a, Text(3, 774));
  EXPECT_EQ(f.Info(a).length, 1024);
  EXPECT_EQ(f.Use(1).reserved, 0);
}

TEST(PrefixReservationTest, RowsThatAreTakenBackAreSetAsideAgain) {
  PrefixFixture f({.full_blocks = 4});
  const SequenceId a = f.Allocate({.tokens = Text(1, 255), .reserve_tokens = 512}).id;
  f.Append({{a, 254}});
  f.Draft(a, Text(9, 3));
  EXPECT_EQ(f.Use(1).reserved, 0);
  f.Truncate(a, 255);
  EXPECT_EQ(f.Use(1).reserved, 1);
  const SequenceId b = f.Start(Text(2, 1000));
  EXPECT_FALSE(f.TryAppend({{b, 513}}).ok());
  f.Append({{b, 512}});
  f.Decode(a, Text(3, 200));
}

TEST(PrefixReservationTest, AForkInheritsNone) {
  PrefixFixture f({.full_blocks = 10});
  const SequenceId a = f.Allocate({.tokens = Text(1, 512), .reserve_tokens = 2000}).id;
  f.Feed(a);
  EXPECT_EQ(f.Use(1).reserved, 6);
  const SequenceId b = f.Fork(a);
  EXPECT_EQ(f.Info(b).reserve_tokens, 0);
  EXPECT_EQ(f.Use(1).reserved, 6);
  f.Free(a);
  EXPECT_EQ(f.Use(1).reserved, 0);
}

TEST(PrefixReservationTest, ItSurvivesAbandon) {
  for (const int in_flight : {0, 2}) {
    PrefixFixture f({.full_blocks = 10}, {.geometry = {}, .in_flight_plans = in_flight});
    const SequenceId a = f.Allocate({.tokens = Text(1, 1500), .reserve_tokens = 2000}).id;
    f.Append({{a, 1000}});
    const SequenceId b = f.Start(Text(2, 512));
    f.Feed(b);  // two blocks of it
    EXPECT_EQ(f.Use(1).reserved, 4);
    f.Abandon(1);
    EXPECT_EQ(f.Info(a).length, 0);
    EXPECT_EQ(f.Use(1).reserved, 8);
    if (in_flight > 0) f.Retire(2);
    EXPECT_FALSE(f.TryAppend({{b, 600}}).ok());
    f.Append({{a, 1500}});
    f.Append({{b, 512}});
  }
}

TEST(PrefixReservationTest, ItSurvivesDistrust) {
  PrefixFixture f({.full_blocks = 10});
  const SequenceId a = f.Allocate({.tokens = Text(1, 1500), .reserve_tokens = 2000}).id;
  f.Feed(a);
  f.Distrust({{a, 600}});
  EXPECT_EQ(f.Use(1).reserved, 8 - f.Info(a).published / 256);
  f.Feed(a);
}

TEST(PrefixReservationTest, DrainingBlocksAreWaitedForAndNobodyElseGetsThem) {
  PrefixFixture f({.full_blocks = 10}, {.geometry = {}, .in_flight_plans = 2});
  const SequenceId old = f.Start(Text(1, 2000));
  f.Feed(old);
  f.Free(old);  // seven cached, one drains
  const SequenceId a = f.Allocate({.tokens = Text(2, 2560), .reserve_tokens = 2560}).id;
  const Shortage shortage = *ShortageOf(f.TryAppend({{a, 2560}}).status());
  EXPECT_EQ(shortage.retire, PlanNumber(1));
  EXPECT_EQ(shortage.reserved_blocks, 0);
  const SequenceId b = f.Start(Text(3, 100));
  EXPECT_EQ(ShortageOf(f.TryAppend({{b, 1}}).status())->reserved_blocks, 10);
  f.Retire(1);
  EXPECT_FALSE(f.TryAppend({{b, 1}}).ok());
  f.Feed(a);
}

TEST(PrefixReservationTest, ItsWindowsAreItsOwn) {
  // Two windows of three blocks for a prompt, one behind it.
  PrefixFixture f({.window_blocks = 9, .limits = WithContext(4096)});
  const SequenceId a = f.Allocate({.tokens = Text(1, 2000), .reserve_tokens = 2100}).id;
  const int32_t most = f.Use(0).reserved;
  EXPECT_GE(most, 5);
  SequenceId others[4];
  int32_t fed = 0;
  for (SequenceId& other : others) {
    other = f.Start(Text(10 + fed, 1000));
    if (!f.TryAppend({{other, 500}}).ok()) break;
    ++fed;
  }
  EXPECT_LT(fed, 4);
  while (f.Info(a).length < 2000) f.Append({{a, 500}});
  f.Decode(a, Text(2, 100));
  EXPECT_EQ(f.Use(0).reserved, 0);
}

TEST(PrefixReservationTest, ItsStateIsItsOwn) {
  PrefixFixture f({.overlap_blocks = 4, .state_blocks = 2});
  const SequenceId a = f.Allocate({.tokens = Text(1, 600), .reserve_tokens = 600}).id;
  EXPECT_EQ(f.Use(4).reserved, 1);
  const SequenceId b = f.Start(Text(2, 600)), c = f.Start(Text(3, 600));
  f.Feed(b);
  EXPECT_EQ(ShortageOf(f.TryAppend({{c, 1}}).status())->pool, PoolIndex(4));
  f.Feed(a);
  EXPECT_EQ(f.Use(4).reserved, 0);
}

}  // namespace
}  // namespace terrace::testing
