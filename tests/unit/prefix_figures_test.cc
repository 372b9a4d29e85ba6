// Which requests the figures of prefix reuse count, and when.

#include <gtest/gtest.h>

#include <cstdint>

#include "tests/support/prefix_fixture.h"

namespace terrace::testing {
namespace {

// 17 chunks: another sequence holds 16, and one is cached that Text(2) begins with.
class Full {
 public:
  Full() : f({.full_blocks = 17}) {
    f.Run({.tokens = Text(2, 257)});
    holder = f.Start(Text(1, 4096));
    f.Feed(holder);
    before = f.figures();
  }
  PrefixFixture f;
  SequenceId holder;
  PrefixFigures before;
};

TEST(PrefixFiguresTest, ARequestCountsWhenItsFirstStepIsMade) {
  Full full;
  PrefixFixture& f = full.f;
  for (int round = 0; round < 5; ++round) {
    const Admission admission = f.Allocate({.tokens = Text(2, 4000)});
    EXPECT_EQ(admission.match.matched, 256);
    EXPECT_TRUE(ShortageOf(f.TryAppend({{admission.id, 1000}}).status()).has_value());
    f.Free(admission.id);
  }
  EXPECT_EQ(f.figures().lookups, full.before.lookups);
  EXPECT_EQ(f.figures().hits, full.before.hits);
  EXPECT_EQ(f.figures().prompt_tokens, full.before.prompt_tokens);
  EXPECT_EQ(f.figures().matched_tokens, full.before.matched_tokens);
  f.Free(full.holder);
  const SequenceId id = f.Start(Text(2, 4000));
  f.Append({{id, 1000}});
  f.Append({{id, 1000}});
  EXPECT_EQ(f.figures().lookups, full.before.lookups + 1);
  EXPECT_EQ(f.figures().hits, full.before.hits + 1);
  EXPECT_EQ(f.figures().prompt_tokens, full.before.prompt_tokens + 4000);
  EXPECT_EQ(f.figures().matched_tokens, full.before.matched_tokens + 256);
}

TEST(PrefixFiguresTest, WhatAWaitingRequestFindsLaterIsPartOfItsLookup) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600)), b = f.Start(Text(1, 600));
  f.Feed(a);
  EXPECT_EQ(f.Extend(b).matched, 512);
  EXPECT_EQ(f.figures().matched_tokens, 0);
  f.Feed(b);
  EXPECT_EQ(f.figures().lookups, 2);
  EXPECT_EQ(f.figures().hits, 1);
  EXPECT_EQ(f.figures().matched_tokens, 512);
}

TEST(PrefixFiguresTest, AForkIsNoRequestAndItsParentIsOne) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  const SequenceId b = f.Fork(a);
  f.Feed(b);
  EXPECT_EQ(f.figures().lookups, 0);
  f.Feed(a);
  EXPECT_EQ(f.figures().lookups, 1);
  EXPECT_EQ(f.figures().prompt_tokens, 600);
}

TEST(PrefixFiguresTest, ARequestThatStartsOverCountsOnce) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 600));
  f.Feed(a);
  f.Abandon(1);
  f.Feed(a);
  EXPECT_EQ(f.figures().lookups, 1);
  EXPECT_EQ(f.figures().prompt_tokens, 600);
}

TEST(PrefixFiguresTest, ARequestThatStartsOverBeforeItsFirstStepCountsWhatItFindsThen) {
  PrefixFixture f({});
  f.Run({.tokens = Text(1, 600)});
  const SequenceId b = f.Start(Text(1, 600));
  f.Abandon(1);  // what it had found is gone
  f.Feed(b);
  EXPECT_EQ(f.figures().lookups, 2);
  EXPECT_EQ(f.figures().hits, 0);
  EXPECT_EQ(f.figures().matched_tokens, 0);
}

TEST(PrefixFiguresTest, AReturnAfterPreemptionIsToldApart) {
  PrefixFixture f({});
  const SequenceId a = f.Start(Text(1, 1000));
  f.Feed(a);
  f.Decode(a, Text(2, 100));
  f.Free(a);
  const Tokens all = Text(1, 1000) + Text(2, 100);
  const Admission back = f.Allocate({.tokens = all, .returning = true});
  EXPECT_EQ(back.match.matched, 1024);
  f.Feed(back.id);
  const PrefixFigures figures = f.figures();
  EXPECT_EQ(figures.lookups, 1);
  EXPECT_EQ(figures.hits, 0);
  EXPECT_EQ(figures.prompt_tokens, 1000);
  EXPECT_EQ(figures.matched_tokens, 0);
  EXPECT_EQ(figures.returns, 1);
  EXPECT_EQ(figures.return_hits, 1);
  EXPECT_EQ(figures.return_prompt_tokens, 1100);
  EXPECT_EQ(figures.return_matched_tokens, 1024);
  EXPECT_EQ(figures.return_refed_tokens, back.match.refed);
}

TEST(PrefixFiguresTest, PromptTokensCountWithoutReuseToo) {
  LedgerOptions options = {};
  options.prefix.enabled = false;
  PrefixFixture f(TestGeometryOptions{}, options);
  f.Run({.tokens = Text(1, 600)});
  EXPECT_EQ(f.figures().prompt_tokens, 600);
  EXPECT_EQ(f.figures().lookups, 0);
}

}  // namespace
}  // namespace terrace::testing
