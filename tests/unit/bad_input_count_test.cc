// Bad input of a worker and of the makers: counts, strides and lengths that no memory can have. Each
// answer names the field, what was given and what is allowed.

#include "tests/unit/bad_input.h"

namespace terrace::testing {
namespace {

constexpr int32_t kHuge = 1 << 30;
constexpr int64_t kLongest = std::numeric_limits<int64_t>::max();

TEST_F(BadInputTest, OfQueryCountsChangesNothing) {
  Store& store = cache_->store();
  const RowsOut out = {.data = memory_.data()};
  const SlotsOut slots = {.slots = ints_.data()};
  const TopK top_k = {.entries = ints_.data(), .k = 4};
  std::vector<BadCall> calls;
  for (const int32_t count : {kHuge, kMost, 401, -1, kLeast}) {
    for (const int32_t* const rows :
         {static_cast<const int32_t*>(ints_.data()), static_cast<const int32_t*>(nullptr)}) {
      const Queries queries = {.token_rows = rows, .count = count};
      const auto add = [&](const char* what, std::function<absl::Status()> call) {
        const char* const names = count > 0 ? "not in 0..400 (max_step_tokens)" : "queries is -";
        calls.push_back({what, kInvalidArgument, names, std::move(call)});
      };
      add("GatherTopK", [=, &store] { return store.GatherTopK(1, queries, top_k, out, {}); });
      add("GatherVisible", [=, &store] { return store.GatherVisible(1, queries, 4, out, {}); });
      add("GatherWindow", [=, &store] { return store.GatherWindow(1, queries, out, {}); });
      add("TranslateTopK",
          [=, &store] { return store.TranslateTopK(1, queries, top_k, slots, {}); });
      add("TranslateVisible",
          [=, &store] { return store.TranslateVisible(1, queries, 4, slots, {}); });
      add("TranslateWindow", [=, &store] { return store.TranslateWindow(1, queries, slots, {}); });
    }
  }
  ExpectErrors(calls);
}

TEST_F(BadInputTest, OfEntriesAQueryChangesNothing) {
  Store& store = cache_->store();
  const RowsOut out = {.data = memory_.data()};
  const SlotsOut slots = {.slots = ints_.data()};
  const Queries one = {.token_rows = ints_.data(), .count = 1};
  const auto top_k = [&](int32_t k, int64_t pitch = 0) {
    return TopK{.entries = ints_.data(), .pitch = pitch, .k = k};
  };
  ExpectErrors({
      {"k beyond any context", kInvalidArgument, "k is 1073741824, not in 1..1048576",
       [&] { return store.GatherTopK(1, one, top_k(kHuge), out, {}); }},
      {"the least k", kInvalidArgument, "k is -2147483648, not in 1..",
       [&] { return store.TranslateTopK(1, one, top_k(kLeast), slots, {}); }},
      {"max_entries beyond any context", kInvalidArgument,
       "max_entries is 1073741824, not in 1..1048576",
       [&] { return store.GatherVisible(1, one, kHuge, out, {}); }},
      {"a pitch of entries that overflows", kInvalidArgument, "pitch of the entries is 92",
       [&] { return store.GatherTopK(1, one, top_k(4, kLongest), out, {}); }},
      {"a negative pitch of entries", kInvalidArgument, "entries is -4, not in 4 (k)..",
       [&] { return store.TranslateTopK(1, one, top_k(4, -4), slots, {}); }},
      {"a pitch of slots that overflows", kInvalidArgument, "pitch of the slots is 92",
       [&] {
         return store.TranslateWindow(1, one, {.slots = ints_.data(), .pitch = kLongest}, {});
       }},
      {"a row pitch that overflows", kInvalidArgument, "row_pitch is 9223372036854775800, not a",
       [&] {
         return store.GatherWindow(1, one, {.data = memory_.data(), .row_pitch = kLongest - 7}, {});
       }},
      {"a row pitch that overflows a query", kInvalidArgument, "512..16777216 for 128 rows",
       [&] {
         return store.GatherWindow(1, one, {.data = memory_.data(), .row_pitch = int64_t{1} << 31},
                                   {});
       }},
      {"a query pitch that overflows", kInvalidArgument, "65536..2147483648",
       [&] {
         return store.GatherWindow(1, one, {.data = memory_.data(), .query_pitch = kLongest - 7},
                                   {});
       }},
      {"a negative query pitch", kInvalidArgument, "query_pitch is -8",
       [&] { return store.GatherWindow(1, one, {.data = memory_.data(), .query_pitch = -8}, {}); }},
  });
}

TEST_F(BadInputTest, OfSlotCountsChangesNothing) {
  Store& store = cache_->store();
  const RowsIn rows = {.data = memory_.data(), .rotated = true};
  std::vector<BadCall> calls;
  for (const int32_t count : {kHuge, kMost, -1, kLeast}) {
    const SlotList slots = {.slots = ints_.data(), .count = count};
    const char* const names = "not in 0..268435456";
    calls.push_back({"written", kInvalidArgument, names, [=, &store] {
                       return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, rows,
                                               slots, {});
                     }});
    calls.push_back({"read", kInvalidArgument, names, [=, this, &store] {
                       return store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent, slots,
                                              {.data = memory_.data()}, {});
                     }});
  }
  calls.push_back({"null slots to read", kInvalidArgument, "slots are null, and count is 3", [&] {
                     return store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent, {.count = 3},
                                            {.data = memory_.data()}, {});
                   }});
  calls.push_back({"null rows", kInvalidArgument, "rows are null", [&] {
                     return store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent, {},
                                             {.slots = ints_.data(), .count = 3}, {});
                   }});
  ExpectErrors(calls);
}

TEST_F(BadInputTest, OfCompressorRowsChangesNothing) {
  const CompressPlaneIn plane = {.kv = memory_.data(),
                                 .score = memory_.data(),
                                 .ape = reinterpret_cast<const float*>(memory_.data()),
                                 .norm_weight = memory_.data()};
  auto other = Cache::Create({.model = *MakeModel({.ratios = {0, 4, 128}, .state = true}),
                              .memory_bytes = 32 * kMiB,
                              .limits = kLimits,
                              .backend = {.kind = BackendKind::kHost, .host_threads = 1}});
  ASSERT_TRUE(other.ok()) << other.status();
  const SequenceId id = (*other)->AllocateSequence({})->id;
  ASSERT_TRUE((*other)->Begin(*(*other)->Append({{id, 318}}), {}).ok());
  const auto compress = [&](int layer, int32_t capacity, int64_t pitch = 0) {
    CompressInputs inputs = {.latent = plane, .capacity = capacity};
    inputs.latent.kv_pitch = pitch;
    return (*other)->Compress(layer, inputs, {});
  };
  ExpectErrors({
      {"a layer without entries", kInvalidArgument, "layer 0", [&] { return compress(0, 0); }},
      {"a layer past the last", kInvalidArgument, "layer 3 is not in this store's 0..2",
       [&] { return compress(3, 0); }},
      {"the last number", kInvalidArgument, "layer 2147483647", [&] { return compress(kMost, 0); }},
      {"the least number", kInvalidArgument, "layer -2147483648",
       [&] { return compress(kLeast, 0); }},
      {"a capacity beyond a step", kInvalidArgument, "capacity is 1073741824, not in 318..400",
       [&] { return compress(2, kHuge); }},
      {"a negative capacity", kInvalidArgument, "capacity is -1, not in 318..400",
       [&] { return compress(2, -1); }},
      {"a pitch that overflows", kInvalidArgument,
       "9223372036854775804, not a multiple of 4 in 512",
       [&] { return compress(2, 0, kLongest - 3); }},
  });
}

TEST_F(BadInputTest, OfLayersIsRefusedByEveryCall) {
  Store& store = cache_->store();
  const Queries one = {.token_rows = ints_.data(), .count = 1};
  const TopK top_k = {.entries = ints_.data(), .k = 4};
  const RowsOut out = {.data = memory_.data()};
  const SlotsOut slots = {.slots = ints_.data()};
  const SlotList list = {.slots = ints_.data(), .count = 1};
  const RowsIn rows = {.data = memory_.data(), .rotated = true};
  constexpr PoolKind kPool = PoolKind::kWindow;
  constexpr PlaneKind kPlane = PlaneKind::kLatent;
  std::vector<BadCall> calls;
  for (const int layer : {-1, 3, kMost, kLeast}) {
    const auto add = [&](const char* what, std::function<absl::Status()> call) {
      calls.push_back({what, kInvalidArgument, "not in this store's 0..2", std::move(call)});
    };
    add("GatherTopK", [=, &store] { return store.GatherTopK(layer, one, top_k, out, {}); });
    add("GatherVisible", [=, &store] { return store.GatherVisible(layer, one, 4, out, {}); });
    add("GatherWindow", [=, &store] { return store.GatherWindow(layer, one, out, {}); });
    add("TranslateTopK", [=, &store] { return store.TranslateTopK(layer, one, top_k, slots, {}); });
    add("TranslateVisible",
        [=, &store] { return store.TranslateVisible(layer, one, 4, slots, {}); });
    add("TranslateWindow", [=, &store] { return store.TranslateWindow(layer, one, slots, {}); });
    add("WriteSlots",
        [=, &store] { return store.WriteSlots(layer, kPool, kPlane, rows, list, {}); });
    add("ReadSlots", [=, &store] { return store.ReadSlots(layer, kPool, kPlane, list, out, {}); });
    add("SetGlobalScale", [=, &store] { return store.SetGlobalScale(layer, kPool, 1); });
    add("Pages", [=, &store] { return store.Pages(layer, kPool).status(); });
  }
  ExpectErrors(calls);
}

TEST_F(BadInputTest, OfRopeTablesNamesTheTable) {
  const float* const data = reinterpret_cast<const float*>(memory_.data());
  Store& store = cache_->store();
  const auto set = [&](RopeTableView second) { return store.SetRopeTables({{data, 4}, second}); };
  ExpectErrors({
      {"no positions", kInvalidArgument, "rope table 1: positions is 0, not 1 or more",
       [&] {
         return set({data, 0});
       }},
      {"the least positions", kInvalidArgument, "rope table 1: positions is -2147483648",
       [&] {
         return set({data, kLeast});
       }},
      {"null", kInvalidArgument, "rope table 1 is null",
       [&] {
         return set({nullptr, 4});
       }},
      {"unaligned", kInvalidArgument, "16-byte",
       [&] {
         return set({data + 1, 4});
       }},
      {"none", kInvalidArgument, "0 rope tables for 2", [&] { return store.SetRopeTables({}); }},
  });
}

TEST_F(BadInputTest, OfACachesNumbersIsRefused) {
  const auto cache = [&](const std::function<void(CacheOptions&)>& spoil) {
    CacheOptions options = {.model = model_,
                            .memory_bytes = 8 * kMiB,
                            .limits = kLimits,
                            .backend = {.kind = BackendKind::kHost, .host_threads = 1}};
    spoil(options);
    return Cache::Create(options).status();
  };
  ExpectErrors({
      {"negative plans in flight", kInvalidArgument, "in_flight_plans is -1",
       [&] { return cache([](CacheOptions& o) { o.in_flight_plans = -1; }); }},
      {"the least plans in flight", kInvalidArgument, "in_flight_plans is -2147483648",
       [&] { return cache([](CacheOptions& o) { o.in_flight_plans = kLeast; }); }},
      {"negative prefills", kInvalidArgument, "prefill_sequences",
       [&] { return cache([](CacheOptions& o) { o.prefill_sequences = -1; }); }},
      {"more prefills than sequences", kInvalidArgument, "prefill_sequences",
       [&] { return cache([](CacheOptions& o) { o.prefill_sequences = kMost; }); }},
      {"negative checkpoints", kInvalidArgument, "checkpoints",
       [&] { return cache([](CacheOptions& o) { o.checkpoints = -2; }); }},
      {"more checkpoints than memory", kOutOfRange, "at least",
       [&] { return cache([](CacheOptions& o) { o.checkpoints = kMost; }); }},
      {"too many threads", kInvalidArgument, "host_threads is 2147483647, not in 0..",
       [&] { return cache([](CacheOptions& o) { o.backend.host_threads = kMost; }); }},
      {"the most memory", kInvalidArgument, "32-bit",
       [&] { return cache([](CacheOptions& o) { o.memory_bytes = kLongest; }); }},
      {"the least memory", kInvalidArgument, "memory_bytes",
       [&] {
         return cache(
             [](CacheOptions& o) { o.memory_bytes = std::numeric_limits<int64_t>::min(); });
       }},
      {"more drafts than a step", kInvalidArgument, "max_drafts",
       [&] { return cache([](CacheOptions& o) { o.limits.max_drafts = kMost; }); }},
      {"a negative context", kInvalidArgument, "max_context_tokens",
       [&] { return cache([](CacheOptions& o) { o.limits.max_context_tokens = -1; }); }},
  });
}

}  // namespace
}  // namespace terrace::testing
