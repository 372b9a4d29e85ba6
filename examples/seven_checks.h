// The seven checks that a KV cache of this kind is held against, through the public API alone. Each
// makes a small cache, drives it as an engine would and reports one figure.

#ifndef TERRACE_EXAMPLES_SEVEN_CHECKS_H_
#define TERRACE_EXAMPLES_SEVEN_CHECKS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "examples/attention.h"
#include "examples/serving_loop.h"
#include "terrace/backend_buffer.h"
#include "terrace/cache.h"
#include "terrace/units.h"

namespace terrace::examples {

struct CheckResult {
  std::string what = {};
  double figure = 0;  // a worst cosine, or the share of rows that are identical
  double at_least = 0;
  std::string failed = {};  // what else did not hold; empty if all did

  bool passed() const { return failed.empty() && figure >= at_least; }
};

using Check = absl::StatusOr<CheckResult> (*)(const BackendOptions& backend);

inline absl::StatusOr<std::unique_ptr<Cache>> SmallCache(const LayeredModelOptions& layers,
                                                         const Limits& limits,
                                                         const BackendOptions& backend) {
  absl::StatusOr<ModelSpec> model = MakeModel(layers);
  if (!model.ok()) return model.status();
  return Cache::Create({.model = *model,
                        .memory_bytes = 64 * kMiB,
                        .limits = limits,
                        .backend = backend,
                        .prefix = {.enabled = false}});  // every check writes all its rows
}

inline LayeredModelOptions OneLayer(int32_t ratio, RowFormat format) {
  return {.name = "one layer",
          .ratios = {ratio},
          .latent_format = format,
          .indexer_ratio = 0,
          .rule = EntryRule::kStrided};
}

// The angles of layers with a full pool.   Shape: [positions, 64].
inline std::vector<float> CompressedRopeTable(int64_t positions) {
  return MakeRopeTable(positions, kCompressedRope);
}

inline Request RandomRequest(int32_t tokens, int32_t prompt_tokens, int32_t heads, uint32_t seed) {
  Request request{.prompt_tokens = prompt_tokens,
                  .tokens = std::vector<int32_t>(tokens),
                  .latents = RandomRows(tokens, seed),
                  .queries = RandomRows(int64_t{tokens} * heads, seed + 1)};
  std::iota(request.tokens.begin(), request.tokens.end(), 1000);
  Rotate(absl::MakeSpan(request.queries), CompressedRopeTable(tokens), heads);
  return request;
}

// What the attention over the same rows in memory would give: entries 0 .. t / ratio, then, where
// asked, the last `window` tokens.
inline std::vector<float> ReferenceAttention(const Request& request, int32_t ratio,
                                             int32_t window) {
  const int32_t tokens = static_cast<int32_t>(request.tokens.size());
  std::vector<uint16_t> rotated = request.latents;
  Rotate(absl::MakeSpan(rotated), CompressedRopeTable(tokens));
  std::vector<float> attention;
  for (int32_t t = 0; t < tokens; ++t) {
    std::vector<uint16_t> rows;
    const auto append = [&](int32_t token) {
      const auto row = rotated.begin() + int64_t{token} * kLatentChannels;
      rows.insert(rows.end(), row, row + kLatentChannels);
    };
    for (int32_t token = 0; token <= t; token += ratio) append(token);
    for (int32_t token = std::max(0, t + 1 - window); window > 0 && token <= t; ++token) {
      append(token);
    }
    for (int32_t head = 0; head < request.heads(); ++head) {
      const int64_t at = (int64_t{t} * request.heads() + head) * kLatentChannels;
      const std::vector<float> out =
          Attend(absl::MakeConstSpan(request.queries).subspan(at, kLatentChannels), rows);
      attention.insert(attention.end(), out.begin(), out.end());
    }
  }
  return attention;
}

// Feeds up to 128 tokens to a window pool in one step and reads them back as the last token's
// window.
inline absl::StatusOr<std::vector<uint16_t>> ThroughTheWindow(Cache& cache,
                                                              const std::vector<uint16_t>& latents,
                                                              bool rotate) {
  Backend& backend = cache.store().backend();
  const int32_t tokens = static_cast<int32_t>(latents.size() / kLatentChannels);
  const std::vector<int32_t> last_row = {tokens - 1};
  auto in = BackendBuffer<uint16_t>::MakeFrom(backend, latents, Stream{});
  if (!in.ok()) return in.status();
  auto out = BackendBuffer<uint16_t>::Make(
      backend, int64_t{cache.store().geometry().window_tokens} * kLatentChannels, Stream{});
  if (!out.ok()) return out.status();
  auto query = BackendBuffer<int32_t>::MakeFrom(backend, last_row, Stream{});
  if (!query.ok()) return query.status();

  const absl::StatusOr<Admission> sequence =
      cache.AllocateSequence({.tokens = std::vector<int32_t>(tokens, 1)});
  if (!sequence.ok()) return sequence.status();
  const absl::StatusOr<Plan> plan = cache.Append({{sequence->id, tokens}});
  if (!plan.ok()) return plan.status();
  if (absl::Status s = cache.Begin(*plan, Stream{}); !s.ok()) return s;
  if (absl::Status s = cache.Write(0, {.swa = {.data = in->data()}}, Stream{}); !s.ok()) return s;
  if (absl::Status s = cache.GatherWindow(0, {.token_rows = query->data(), .count = 1},
                                          {.data = out->data(), .rotate = rotate}, Stream{});
      !s.ok()) {
    return s;
  }
  if (absl::Status s = cache.FreeSequence(sequence->id); !s.ok()) return s;
  return out->Download(latents.size(), Stream{});
}

// A prefill piece is read back from the cache here, its first row too.
constexpr Limits kRoundTripLimits = {.max_sequences = 1,
                                     .max_step_tokens = 128,
                                     .max_context_tokens = 1024,
                                     .store_whole_chunk = true};

inline absl::StatusOr<CheckResult> CheckFp8RoundTrip(const BackendOptions& backend) {
  auto cache = SmallCache(OneLayer(0, RowFormat::kFp8PerToken), kRoundTripLimits, backend);
  if (!cache.ok()) return cache.status();
  const std::vector<uint16_t> latents = RandomRows(128, 1);
  auto rows = ThroughTheWindow(**cache, latents, false);
  if (!rows.ok()) return rows.status();
  return CheckResult{"FP8 round trip, worst cosine of a row",
                     WorstRowCosine(ToFloats(*rows), ToFloats(latents)), 0.99};
}

inline absl::StatusOr<CheckResult> CheckNvfp4RoundTrip(const BackendOptions& backend) {
  auto cache = SmallCache(OneLayer(0, RowFormat::kNvfp4), kRoundTripLimits, backend);
  if (!cache.ok()) return cache.status();
  const std::vector<uint16_t> latents = RandomRows(128, 2);
  // The largest value takes the largest code (6) at the largest scale (448).
  const float amax = FloatFromBf16(LargestMagnitudeBf16<128 * kLatentChannels>(latents.data()));
  absl::Status status = (*cache)->store().SetGlobalScale(0, PoolKind::kWindow, amax / (448 * 6));
  if (!status.ok()) return status;
  auto rows = ThroughTheWindow(**cache, latents, false);
  if (!rows.ok()) return rows.status();
  return CheckResult{"NVFP4 round trip, worst cosine of a row",
                     WorstRowCosine(ToFloats(*rows), ToFloats(latents)), 0.98};
}

// Rows to scattered slots and back; the slots past the end are neither written nor read.
inline absl::StatusOr<CheckResult> CheckPagedSlots(const BackendOptions& options) {
  auto cache = SmallCache(OneLayer(0, RowFormat::kBf16), kRoundTripLimits, options);
  if (!cache.ok()) return cache.status();
  Store& store = (*cache)->store();
  const absl::StatusOr<PageView> pages = store.Pages(0, PoolKind::kWindow);
  if (!pages.ok()) return pages.status();
  const int32_t end = pages->num_blocks * pages->entries_per_block;
  std::vector<int32_t> slots(end);
  std::iota(slots.begin(), slots.end(), 0);
  std::shuffle(slots.begin(), slots.end(), std::mt19937(3));
  slots.resize(end / 2);
  const int32_t inside = static_cast<int32_t>(slots.size());
  slots.insert(slots.end(), {end, end + 1000, INT32_MAX, INT32_MIN});
  const int32_t count = static_cast<int32_t>(slots.size());
  std::vector<int32_t> every_slot(end);
  std::iota(every_slot.begin(), every_slot.end(), 0);

  const std::vector<uint16_t> latents = RandomRows(count, 3);
  auto in = BackendBuffer<uint16_t>::MakeFrom(store.backend(), latents, Stream{});
  if (!in.ok()) return in.status();
  auto out =
      BackendBuffer<uint16_t>::Make(store.backend(), int64_t{end} * kLatentChannels, Stream{});
  if (!out.ok()) return out.status();
  auto mapping = BackendBuffer<int32_t>::MakeFrom(store.backend(), slots, Stream{});
  if (!mapping.ok()) return mapping.status();
  auto all = BackendBuffer<int32_t>::MakeFrom(store.backend(), every_slot, Stream{});
  if (!all.ok()) return all.status();

  absl::Status status = store.WriteSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                                         {.data = in->data(), .rotated = true},
                                         {.slots = mapping->data(), .count = count}, Stream{});
  if (!status.ok()) return status;
  status = store.ReadSlots(0, PoolKind::kWindow, PlaneKind::kLatent,
                           {.slots = all->data(), .count = end}, {.data = out->data()}, Stream{});
  if (!status.ok()) return status;
  auto rows = out->Download(int64_t{end} * kLatentChannels, Stream{});
  if (!rows.ok()) return rows.status();

  std::vector<uint16_t> expected(rows->size(), 0);
  for (int32_t i = 0; i < inside; ++i) {
    std::copy_n(latents.begin() + int64_t{i} * kLatentChannels, kLatentChannels,
                expected.begin() + int64_t{slots[i]} * kLatentChannels);
  }
  int32_t identical = 0;
  for (int32_t slot = 0; slot < end; ++slot) {
    const auto row = rows->begin() + int64_t{slot} * kLatentChannels;
    identical +=
        std::equal(row, row + kLatentChannels, expected.begin() + int64_t{slot} * kLatentChannels);
  }
  CheckResult result{"Paged write and read, share of identical rows",
                     static_cast<double>(identical) / end, 1};
  if (const uint64_t skipped = store.ReadCounters().skipped_slots; skipped != 4) {
    result.failed = absl::StrCat(skipped, " slots were skipped, not 4");
  }
  return result;
}

// Rows are stored unrotated and rotated as they are read; against rotating the very rows that a
// plain read gives, which must be the same bits, and against rotating the rows that were written.
inline absl::StatusOr<CheckResult> CheckRopeAfterLoad(const BackendOptions& backend) {
  auto cache = SmallCache(OneLayer(0, RowFormat::kFp8PerToken), kRoundTripLimits, backend);
  if (!cache.ok()) return cache.status();
  const std::vector<uint16_t> latents = RandomRows(128, 4);
  auto plain = ThroughTheWindow(**cache, latents, false);
  if (!plain.ok()) return plain.status();
  auto rotated = ThroughTheWindow(**cache, latents, true);
  if (!rotated.ok()) return rotated.status();
  const std::vector<float> table = MakeRopeTable(128, kWindowRope);
  std::vector<uint16_t> direct = latents;
  Rotate(absl::MakeSpan(direct), table);
  Rotate(absl::MakeSpan(*plain), table);
  CheckResult result{"RoPE after dequantization, worst cosine of a row",
                     WorstRowCosine(ToFloats(*rotated), ToFloats(direct)), 0.99};
  if (*plain != *rotated) result.failed = "rotating on load and after load give different bits";
  return result;
}

constexpr Limits kServingLimits = {.max_sequences = 2,
                                   .max_step_tokens = 48,
                                   .max_drafts = 3,
                                   .max_context_tokens = 700,
                                   .store_whole_chunk = true};

inline absl::StatusOr<std::vector<Result>> Serve(const LayeredModelOptions& layers,
                                                 absl::Span<const Request> requests,
                                                 ServingOptions options,
                                                 const BackendOptions& backend) {
  auto cache = SmallCache(layers, kServingLimits, backend);
  if (!cache.ok()) return cache.status();
  auto loop = ServingLoop::Make(**cache, options, Stream{});
  if (!loop.ok()) return loop.status();
  return (*loop)->Run(requests);
}

inline absl::StatusOr<CheckResult> CheckCausalAttention(const BackendOptions& backend) {
  const std::vector<Request> requests = {RandomRequest(150, 101, 2, 51),
                                         RandomRequest(40, 1, 2, 52), RandomRequest(90, 90, 2, 53)};
  const ServingOptions options = {.drafts = 3};
  auto fp8 = Serve(OneLayer(1, RowFormat::kFp8PerToken), requests, options, backend);
  if (!fp8.ok()) return fp8.status();
  auto bf16 = Serve(OneLayer(1, RowFormat::kBf16), requests, options, backend);
  if (!bf16.ok()) return bf16.status();
  CheckResult result{"Causal attention over FP8 against BF16, worst cosine", 1, 0.98};
  for (size_t i = 0; i < requests.size(); ++i) {
    result.figure =
        std::min(result.figure, WorstRowCosine((*fp8)[i].attention, (*bf16)[i].attention));
  }
  return result;
}

// One layer of DeepSeek-V4's shape: attention over the compressed entries and the window.
inline absl::StatusOr<CheckResult> CheckCompressedAttention(const char* what, int32_t ratio,
                                                            const BackendOptions& backend) {
  const std::vector<Request> requests = {RandomRequest(323, 301, 1, 61),
                                         RandomRequest(642, 635, 1, 62)};
  auto served = Serve(OneLayer(ratio, RowFormat::kFp8PerToken), requests,
                      {.drafts = 3, .read_window = true}, backend);
  if (!served.ok()) return served.status();
  CheckResult result{what, 1, 0.99};
  for (size_t i = 0; i < requests.size(); ++i) {
    const int32_t tokens = static_cast<int32_t>(requests[i].tokens.size());
    std::vector<uint16_t> rotated = requests[i].latents;
    Rotate(absl::MakeSpan(rotated), CompressedRopeTable(tokens));
    std::vector<uint16_t> entries;
    for (int32_t token = 0; token < tokens; token += ratio) {
      const auto row = rotated.begin() + int64_t{token} * kLatentChannels;
      entries.insert(entries.end(), row, row + kLatentChannels);
    }
    const int64_t seen = (*served)[i].last_entries.size() / kLatentChannels;
    if (seen != CeilDiv(tokens, ratio)) {
      result.failed = absl::StrCat(tokens, " tokens gave ", seen, " entries");
      return result;
    }
    result.figure = std::min(
        {result.figure, WorstRowCosine(ToFloats((*served)[i].last_entries), ToFloats(entries)),
         WorstRowCosine((*served)[i].attention, ReferenceAttention(requests[i], ratio, 128))});
  }
  return result;
}

inline absl::StatusOr<CheckResult> CheckCsa(const BackendOptions& backend) {
  return CheckCompressedAttention("CSA at ratio 4, ceil(T / 4) entries, worst cosine", 4, backend);
}

inline absl::StatusOr<CheckResult> CheckHca(const BackendOptions& backend) {
  return CheckCompressedAttention("HCA at ratio 128, ceil(T / 128) entries, worst cosine", 128,
                                  backend);
}

constexpr std::array<Check, 7> kSevenChecks = {CheckFp8RoundTrip,
                                               CheckNvfp4RoundTrip,
                                               CheckPagedSlots,
                                               CheckRopeAfterLoad,
                                               CheckCausalAttention,
                                               CheckCsa,
                                               CheckHca};

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_SEVEN_CHECKS_H_
