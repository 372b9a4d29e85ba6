// Bad input through the public API: each is one line that names the thing, and changes nothing. Of
// the scheduler, its plans and the makers; bad_input_store_test.cc has that of a worker.

#include "tests/unit/bad_input.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/model/geometry_builder.h"
#include "src/plan/plan_builder.h"

namespace terrace::testing {
namespace {

using internal::MakeGeometry;
using internal::PlanBuilder;

TEST_F(BadInputTest, OfTheSchedulerChangesNothing) {
  const std::vector<int32_t> long_prompt(2049, 1);
  const std::vector<int32_t> many(1750, 1);
  ExpectErrors({
      {"a prompt beyond the context", kInvalidArgument, "2048",
       [&] { return cache_->AllocateSequence({.tokens = long_prompt}).status(); }},
      {"a stale handle", kNotFound, "generation 1",
       [&] {
         return Append({{stale_, 1}});
       }},
      {"a stale handle behind a good one", kNotFound, "index 2",
       [&] {
         return Append({{live_, 1}, {stale_, 1}});
       }},
      {"no handle", kNotFound, "index -1",
       [&] {
         return Append({{SequenceId{}, 1}});
       }},
      {"an unknown index", kNotFound, "index 99",
       [&] {
         return Append({{{99, 1}, 1}});
       }},
      {"an unknown generation", kNotFound, "generation 77",
       [&] {
         return Append({{{live_.index, 77}, 1}});
       }},
      {"an index never used", kNotFound, "index 3",
       [&] {
         return Append({{{3, 0}, 1}});
       }},
      {"a sequence twice", kInvalidArgument, "twice",
       [&] {
         return Append({{live_, 1}, {live_, 1}});
       }},
      {"no tokens", kInvalidArgument, "tokens is 0",
       [&] {
         return Append({{live_, 0}});
       }},
      {"negative tokens", kInvalidArgument, "tokens is -5",
       [&] {
         return Append({{live_, -5}});
       }},
      {"too many tokens", kInvalidArgument, "tokens",
       [&] {
         return Append({{live_, kMost}});
       }},
      {"negative drafts", kInvalidArgument, "drafts is -1",
       [&] {
         return Append({{live_, 1, -1}});
       }},
      {"more drafts than tokens", kInvalidArgument, "drafts is 3",
       [&] {
         return Append({{live_, 2, 3}});
       }},
      {"more drafts than declared", kInvalidArgument, "drafts is 5",
       [&] {
         return Append({{live_, 8, 5}});
       }},
      {"undecided drafts", kFailedPrecondition, "3 undecided drafts",
       [&] {
         return Append({{drafting_, 1}});
       }},
      {"undecided drafts behind a good one", kFailedPrecondition, "undecided drafts",
       [&] {
         return Append({{live_, 300}, {drafting_, 1}});
       }},
      {"a stale handle to Commit", kNotFound, "index 2",
       [&] { return cache_->Commit(stale_, {1}); }},
      {"an unknown handle to Commit", kNotFound, "index -7",
       [&] {
         return cache_->Commit({-7, 1}, {1});
       }},
      {"ids beyond the context", kInvalidArgument, "2048",
       [&] { return cache_->Commit(live_, many); }},
  });
}

TEST_F(BadInputTest, OfTruncateAndFreeChangesNothing) {
  ExpectErrors({
      {"a stale handle to Truncate", kNotFound, "index 2",
       [&] { return cache_->Truncate(stale_, 0); }},
      {"a negative length", kInvalidArgument, "-1",
       [&] { return cache_->Truncate(drafting_, -1); }},
      {"beyond the rows", kInvalidArgument, "14", [&] { return cache_->Truncate(drafting_, 14); }},
      {"settled rows", kInvalidArgument, "9", [&] { return cache_->Truncate(drafting_, 9); }},
      {"an undeclared row", kInvalidArgument, "300", [&] { return cache_->Truncate(live_, 300); }},
      {"the smallest number", kInvalidArgument, "-2147483648",
       [&] { return cache_->Truncate(drafting_, kLeast); }},
      {"freed twice", kNotFound, "index 2", [&] { return cache_->FreeSequence(stale_); }},
      {"never allocated", kNotFound, "index 3",
       [&] {
         return cache_->FreeSequence({3, 1});
       }},
      {"Retire without plans in flight", kFailedPrecondition, "in_flight_plans",
       [&] { return cache_->Retire(PlanNumber(1)); }},
  });
}

TEST_F(BadInputTest, OfAFullCacheChangesNothing) {
  ASSERT_TRUE(cache_->AllocateSequence({}).ok());
  ASSERT_TRUE(cache_->AllocateSequence({}).ok());
  ExpectErrors({{"no sequence is left", kResourceExhausted, "all 4 sequence indices",
                 [&] { return cache_->AllocateSequence({}).status(); }}});
}

TEST_F(BadInputTest, OfPlansOutOfOrderChangesNothing) {
  auto third = cache_->Append({{live_, 1}});
  ASSERT_TRUE(third.ok());
  PlanBuilder stranger(cache_->ledger().geometry(), PlanKind::kStep, {});
  const Plan other_epoch = std::move(stranger).Build(2, PlanNumber(2));
  Limits limits = kLimits;
  limits.max_drafts = 3;
  auto foreign = Cache::Create({.model = model_,
                                .memory_bytes = 8 * kMiB,
                                .limits = limits,
                                .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
  ASSERT_TRUE(foreign.ok());
  auto foreign_id = (*foreign)->AllocateSequence({});
  auto foreign_plan = (*foreign)->Append({{foreign_id->id, 1}});
  ASSERT_TRUE(foreign_plan.ok());

  const State before = Look();
  ExpectOneLine(cache_->Begin(*first_, {}), kInvalidArgument, "plan 1");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(*third, {}), kFailedPrecondition, "snapshot");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(other_epoch, {}), kFailedPrecondition, "epoch 2");
  ExpectSame(before, Look());
  ExpectOneLine(cache_->Begin(*foreign_plan, {}), kInvalidArgument, "geometry");
  ExpectSame(before, Look());
  ExpectOneLine(Plan::Parse(foreign_plan->bytes(), cache_->ledger().geometry()).status(),
                kFailedPrecondition, "another deployment");
  ExpectOneLine((*foreign)->Write(0, {.swa = {.data = memory_.data()}}, {}), kFailedPrecondition,
                "Begin");
  for (const int32_t padded : {-1, 10, 401, kMost}) {
    // Plan 1 had 318 rows; plan 2 has one.
    if (padded == 10) continue;
    ExpectOneLine(cache_->store().Begin(*second_, {}, padded), kInvalidArgument,
                  "padded_token_rows");
    ExpectSame(before, Look());
  }
  EXPECT_TRUE(cache_->Begin(*second_, {}).ok());
  EXPECT_TRUE(cache_->Begin(*third, {}).ok());
}

TEST_F(BadInputTest, OfAPlansBytesIsAlwaysNoticed) {
  const Geometry& geometry = cache_->ledger().geometry();
  const std::vector<std::byte> bytes(first_->bytes().begin(), first_->bytes().end());
  ASSERT_TRUE(Plan::Parse(bytes, geometry).ok());
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::vector<std::byte> corrupt = bytes;
    corrupt[at] ^= std::byte{0x40};
    const absl::Status status = Plan::Parse(corrupt, geometry).status();
    ASSERT_FALSE(status.ok()) << "byte " << at;
    ASSERT_EQ(std::string(status.message()).find('\n'), std::string::npos);
  }
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_FALSE(Plan::Parse(absl::MakeConstSpan(bytes).first(size), geometry).ok()) << size;
  }
  std::vector<std::byte> longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(Plan::Parse(longer, geometry).ok());
}

TEST_F(BadInputTest, OfTheMakersIsRefused) {
  const Geometry good = cache_->ledger().geometry();
  const auto ledger = [&](const std::function<void(Geometry&)>& spoil) {
    LedgerOptions options = {.geometry = good};
    spoil(options.geometry);
    return Ledger::Create(options).status();
  };
  const auto store = [&](LayerRange layers) {
    return Store::Create({.model = model_, .geometry = good, .layers = layers},
                         *MakeBackend({.kind = BackendKind::kHost, .host_threads = 1}))
        .status();
  };
  const auto cache = [&](const std::function<void(CacheOptions&)>& spoil) {
    CacheOptions options = {.model = model_,
                            .memory_bytes = 8 * kMiB,
                            .limits = kLimits,
                            .backend = {.kind = BackendKind::kHost, .host_threads = 1}};
    spoil(options);
    return Cache::Create(options).status();
  };
  ExpectErrors({
      {"an empty geometry", kInvalidArgument, "geometry",
       [&] { return Ledger::Create({.geometry = Geometry{}}).status(); }},
      {"no pools", kInvalidArgument, "num_pools",
       [&] { return ledger([](Geometry& g) { g.num_pools = 0; }); }},
      {"too many pools", kInvalidArgument, "num_pools",
       [&] { return ledger([](Geometry& g) { g.num_pools = 99; }); }},
      {"more sequences than any machine", kInvalidArgument, "max_sequences",
       [&] { return ledger([](Geometry& g) { g.max_sequences = kMost; }); }},
      {"longer steps than any machine", kInvalidArgument, "max_step_tokens",
       [&] { return ledger([](Geometry& g) { g.max_step_tokens = kMost; }); }},
      {"a negative capacity", kInvalidArgument, "capacity_blocks",
       [&] { return ledger([](Geometry& g) { g.pools[1].capacity_blocks = -1; }); }},
      {"blocks of no power of two", kInvalidArgument, "entries_per_block",
       [&] { return ledger([](Geometry& g) { g.pools[1].entries_per_block = 48; }); }},
      {"a table that is too short", kInvalidArgument, "blocks_per_sequence",
       [&] { return ledger([](Geometry& g) { g.pools[0].blocks_per_sequence = 1; }); }},
      {"negative plans in flight", kInvalidArgument, "in_flight_plans",
       [&] { return Ledger::Create({.geometry = good, .in_flight_plans = -1}).status(); }},
      {"a store without a backend", kInvalidArgument, "backend",
       [&] { return Store::Create({.model = model_, .geometry = good}, nullptr).status(); }},
      {"a store of another model", kInvalidArgument, "geometry",
       [&] {
         return Store::Create({.model = *MakeModel({.ratios = {0, 2}}), .geometry = good},
                              *MakeBackend({.kind = BackendKind::kHost}))
             .status();
       }},
      {"layers past the last", kInvalidArgument, "layers",
       [&] {
         return store({2, 2});
       }},
      {"negative layers", kInvalidArgument, "layers",
       [&] {
         return store({-1, 2});
       }},
      {"layers that overflow", kInvalidArgument, "layers",
       [&] {
         return store({2, kMost});
       }},
      {"a negative device", kInvalidArgument, "device",
       [&] { return MakeBackend({.kind = BackendKind::kHost, .device = -1}).status(); }},
      {"negative threads", kInvalidArgument, "threads",
       [&] { return MakeBackend({.kind = BackendKind::kHost, .host_threads = -1}).status(); }},
      {"an unknown backend", kInvalidArgument, "kind",
       [&] { return MakeBackend({.kind = static_cast<BackendKind>(9)}).status(); }},
      {"a model without layers", kInvalidArgument, "layers",
       [&] { return cache([](CacheOptions& o) { o.model.layers.clear(); }); }},
      {"no sequences", kInvalidArgument, "max_sequences",
       [&] { return cache([](CacheOptions& o) { o.limits.max_sequences = 0; }); }},
      {"negative drafts", kInvalidArgument, "max_drafts",
       [&] { return cache([](CacheOptions& o) { o.limits.max_drafts = -1; }); }},
      {"a context longer than the model's", kInvalidArgument, "max_context_tokens",
       [&] { return cache([](CacheOptions& o) { o.limits.max_context_tokens = 1 << 21; }); }},
      {"negative memory", kInvalidArgument, "memory_bytes",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = -1; }); }},
      {"too little memory", kOutOfRange, "at least",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = kKiB; }); }},
      {"more memory than slots can name", kInvalidArgument, "32-bit",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = int64_t{1} << 62; }); }},
  });
}

// In a process of its own, with little memory.
TEST_F(BadInputTest, OfMoreBlocksThanThereIsMemoryForIsAnError) {
#ifdef TERRACE_SANITIZED
  GTEST_SKIP() << "a sanitizer needs the address space that this test takes away";
#endif
  const absl::StatusOr<ModelSpec> model = MakeModel({.ratios = {128}});
  ASSERT_TRUE(model.ok());
  const absl::StatusOr<Geometry> geometry = MakeGeometry(*model, kLimits, {64, 1 << 29});
  ASSERT_TRUE(geometry.ok()) << geometry.status();
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {kGiB, kGiB};
    setrlimit(RLIMIT_AS, &limit);
    const absl::Status status = Ledger::Create({.geometry = *geometry}).status();
    _exit(status.code() == kResourceExhausted ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(BadInputTest, BeyondTheContextOrTheStepChangesNothing) {
  ASSERT_TRUE(cache_->Truncate(drafting_, 10).ok());
  for (int length = 301; length + 400 <= 2048; length += 400) {
    ASSERT_TRUE(cache_->Append({{live_, 400}}).ok());
  }
  const State before = Look();
  ExpectOneLine(Append({{live_, 348}}), kInvalidArgument, "max_context_tokens");
  ExpectOneLine(Append({{drafting_, 400}, {live_, 1}}), kInvalidArgument, "max_step_tokens");
  ExpectSame(before, Look());
}

}  // namespace
}  // namespace terrace::testing
