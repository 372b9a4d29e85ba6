// Uses the installed package as an engine would: plans a capacity, makes a cache on the host
// backend, runs one step and reads a row back. Exits 0 iff the row is what was written.

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "terrace/terrace.h"

namespace {

constexpr int32_t kTokens = 5;
constexpr int32_t kChannels = 512;

absl::Status RunOneStep(terrace::Cache& cache) {
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5};
  auto sequence = cache.AllocateSequence({.tokens = prompt});
  if (!sequence.ok()) return sequence.status();
  auto plan = cache.Append({{sequence->id, kTokens}});
  if (!plan.ok()) return plan.status();
  if (absl::Status status = cache.Begin(*plan, {}); !status.ok()) return status;

  // bf16 1.0 is exact in every row format; RoPE leaves the NoPE channels alone.
  const std::vector<uint16_t> rows(kTokens * kChannels, 0x3f80);
  absl::Status status = cache.Write(0, {.swa = {.data = rows.data()}}, {});
  if (!status.ok()) return status;
  std::vector<uint16_t> window(128 * kChannels);
  const int32_t query = kTokens - 1;
  status = cache.GatherWindow(0, {.token_rows = &query, .count = 1}, {.data = window.data()}, {});
  if (!status.ok()) return status;
  if (window[0] != 0x3f80 || window[kTokens * kChannels] != 0) {
    return absl::InternalError("the row read back is not the row written");
  }
  return cache.FreeSequence(sequence->id);
}

}  // namespace

int main() {
  auto cache = terrace::Cache::Create({.model = terrace::DeepSeekV4Flash(),
                                       .memory_bytes = terrace::kGiB,
                                       .limits = {.max_sequences = 4, .max_step_tokens = 256},
                                       .backend = {.kind = terrace::BackendKind::kHost}});
  const absl::Status status = cache.ok() ? RunOneStep(**cache) : cache.status();
  std::puts(status.ToString().c_str());
  if (cache.ok()) std::puts(terrace::ToTable((*cache)->capacity()).c_str());
  return status.ok() ? 0 : 1;
}
