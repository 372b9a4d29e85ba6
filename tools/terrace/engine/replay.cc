#include "tools/terrace/engine/replay.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/base/status_macros.h"
#include "terrace/ledger.h"
#include "terrace/pool_kinds.h"
#include "terrace/units.h"
#include "tools/terrace/engine/store_runner.h"

namespace terrace::tools {
namespace {

// Tokens of the longest request that the model can serve, in whole chunks: what tables must hold.
int32_t ContextOf(absl::Span<const TraceRequest> requests, const ModelSpec& model) {
  int64_t longest = 1;
  for (const TraceRequest& request : requests) {
    const int64_t tokens = int64_t{request.input_length} + request.output_length;
    if (tokens <= model.max_context_tokens) longest = std::max(longest, tokens);
  }
  const int64_t whole = RoundUp(longest, model.chunk_tokens);
  return static_cast<int32_t>(std::min<int64_t>(whole, model.max_context_tokens));
}

absl::Status CheckCompress(const ReplayOptions& options) {
  if (!options.compress) return absl::OkStatus();
  if (StatePool(options.model, kCsaRatio) == kNoPool &&
      StatePool(options.model, kHcaRatio) == kNoPool) {
    return absl::InvalidArgumentError(
        absl::StrCat("--compress: model ", options.model.name,
                     " has no compressor state; drop "
                     "--no-state, or say \"state\": true in the model's file"));
  }
  if (!options.with_data) {
    return absl::InvalidArgumentError("--compress: with --data none there is nothing to compress");
  }
  return absl::OkStatus();
}

// What the limits of a geometry do not check.
absl::Status CheckNumbers(const ReplayOptions& options) {
  const SchedulerOptions& scheduler = options.scheduler;
  const bool finite =
      std::isfinite(scheduler.step_ms) && std::isfinite(scheduler.tokens_per_second);
  if (!finite || scheduler.step_ms < 0 || scheduler.tokens_per_second <= 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "--step-ms must be >= 0 and --tokens-per-second > 0, both finite; got %g and %g",
        scheduler.step_ms, scheduler.tokens_per_second));
  }
  const auto share = [](double value) { return value >= 0 && value <= 1; };
  if (!share(scheduler.acceptance) || !share(options.verifier.rate)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--acceptance and --verify must be from 0 to 1; got %g and %g",
                        scheduler.acceptance, options.verifier.rate));
  }
  return absl::OkStatus();
}

// Blocks that are lost: live or draining after every sequence was freed, or not free when the
// prefixes are gone too. What a next plan would take for a checkpoint, it may hold until then.
absl::StatusOr<int64_t> CountLeaks(Ledger& ledger) {
  const Geometry& geometry = ledger.geometry();
  std::vector<int64_t> leaked(geometry.num_pools);
  ledger.CheckInvariants();
  for (int pool = 0; pool < geometry.num_pools; ++pool) {
    TERRACE_ASSIGN_OR_RETURN(const PoolUse use, ledger.Use(PoolIndex(pool)));
    if (HoldsRows(geometry.pools[pool].kind)) leaked[pool] = use.live + use.draining;
  }
  ledger.ClearPrefixes();
  ledger.CheckInvariants();
  for (int pool = 0; pool < geometry.num_pools; ++pool) {
    TERRACE_ASSIGN_OR_RETURN(const PoolUse use, ledger.Use(PoolIndex(pool)));
    leaked[pool] = std::max<int64_t>(leaked[pool], use.capacity - use.free);
  }
  return std::accumulate(leaked.begin(), leaked.end(), int64_t{0});
}

// Full pools cache chunks, the others checkpoints.
int64_t CheckpointBytesPeak(const ReplayResult& result) {
  int64_t bytes = 0;
  for (size_t p = 0; p < result.capacity.pools.size(); ++p) {
    const PoolBudget& pool = result.capacity.pools[p];
    if (pool.kind == PoolKind::kFull) continue;
    bytes += result.scheduler.peak_cached_blocks[p] * pool.place.reserved_bytes_per_block();
  }
  return bytes;
}

int64_t PeakMemoryBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * kKiB;
}

}  // namespace

bool ReplayResult::ok() const {
  return verifier.corrupt_rows == 0 && leaked_blocks == 0 && counters.nonfinite_values == 0 &&
         counters.skipped_slots == 0 && counters.skipped_entries == 0 &&
         counters.skipped_positions == 0 && counters.stale_states == 0;
}

absl::StatusOr<ReplayResult> Replay(absl::Span<const TraceRequest> requests,
                                    const ReplayOptions& options) {
  TERRACE_RETURN_IF_ERROR(CheckNumbers(options));
  TERRACE_RETURN_IF_ERROR(CheckCompress(options));
  ReplayResult result;
  const int32_t sequences = options.scheduler.serial ? 1 : options.scheduler.sequences;
  const bool leaves_checkpoints =
      options.prefix.enabled && options.prefix.checkpoints != CheckpointPolicy::None();
  TERRACE_ASSIGN_OR_RETURN(
      result.capacity,
      PlanCapacity({.model = options.model,
                    .memory_bytes = options.memory_bytes,
                    .limits = {.max_sequences = sequences,
                               .max_step_tokens = options.scheduler.step_tokens,
                               .max_drafts = options.scheduler.drafts,
                               .max_context_tokens = ContextOf(requests, options.model),
                               .store_whole_chunk = options.store_whole_chunk},
                    .prefix_reuse = leaves_checkpoints,
                    .in_flight_plans = options.scheduler.in_flight}));
  TERRACE_ASSIGN_OR_RETURN(const std::unique_ptr<Ledger> ledger,
                           Ledger::Create({.geometry = result.capacity.geometry,
                                           .in_flight_plans = options.scheduler.in_flight,
                                           .prefix = options.prefix}));
  std::unique_ptr<StoreRunner> runner;
  result.backend = "none";
  if (options.with_data) {
    TERRACE_ASSIGN_OR_RETURN(runner, StoreRunner::Create(result.capacity, requests, options));
    result.backend = std::string(runner->backend().name());
    result.layers = runner->store().layers();
    result.store_bytes = runner->store().memory_bytes();
  }

  Scheduler scheduler(ledger.get(), requests, runner.get(), options.scheduler);
  scheduler.OnStep(options.on_step);
  scheduler.StopWhen(options.stop);
  const auto start = std::chrono::steady_clock::now();
  TERRACE_RETURN_IF_ERROR(scheduler.Run());
  if (runner != nullptr) TERRACE_RETURN_IF_ERROR(runner->Wait());
  result.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  result.scheduler = scheduler.stats();
  result.occupancy = scheduler.occupancy();
  result.prefix = ledger->prefix_figures();
  result.checkpoint_bytes_peak = CheckpointBytesPeak(result);
  TERRACE_ASSIGN_OR_RETURN(result.leaked_blocks, CountLeaks(*ledger));
  if (runner != nullptr) {
    result.verifier = runner->verified();
    result.counters = runner->store().ReadCounters();
  }
  result.peak_memory_bytes = PeakMemoryBytes();
  return result;
}

}  // namespace terrace::tools
