#include "cli/replay.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "cli/backend_memory.h"
#include "cli/layer_range.h"
#include "cli/row_source.h"
#include "src/thread_pool.h"
#include "terrace/ledger.h"
#include "terrace/rope.h"
#include "terrace/units.h"

namespace terrace {
namespace {

// Everything that a replay with data needs beside the ledger, and the carrying out of a step.
class StoreRunner final : public StepRunner {
 public:
  static absl::StatusOr<std::unique_ptr<StoreRunner>> Create(const CapacityPlan& capacity,
                                                             const ReplayOptions& options) {
    std::unique_ptr<StoreRunner> runner(new StoreRunner(options));
    if (absl::Status status = runner->Build(capacity); !status.ok()) return status;
    return runner;
  }

  absl::Status Run(const Plan& plan, absl::Span<const StepLane> lanes) override {
    absl::Status status = store_->Begin(plan, stream_);
    if (status.ok()) status = rows_->BeginStep(lanes, stream_);
    const LayerRange range = store_->layers();
    for (int layer = range.first; status.ok() && layer < range.first + range.count; ++layer) {
      status = store_->Write(layer, rows_->RowsOf(layer), stream_);
    }
    if (status.ok() && options_.after_write) status = options_.after_write(*store_);
    return status.ok() ? verifier_->CheckStep(lanes, stream_) : status;
  }

  const Store& store() const { return *store_; }
  const Verifier& verifier() const { return *verifier_; }
  Backend& backend() { return *backend_; }
  absl::Status Finish() { return backend_->Synchronize(stream_); }

 private:
  explicit StoreRunner(const ReplayOptions& options)
      : options_(options),
        threads_(options.backend.host_threads > 0
                     ? options.backend.host_threads
                     : std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

  absl::Status Build(const CapacityPlan& capacity) {
    absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(options_.backend);
    if (!backend.ok()) return backend.status();
    backend_ = *std::move(backend);

    LayerRange layers = {0, static_cast<int32_t>(options_.model.layers.size())};
    if (!options_.layers.empty()) {
      absl::StatusOr<LayerRange> asked = ParseLayers(options_.layers, options_.model);
      if (!asked.ok()) return asked.status();
      layers = *asked;
    } else if (backend_->name() == "host") {
      layers = OneLayerOfEachKind(options_.model);
    }
    absl::StatusOr<std::unique_ptr<Store>> store = Store::Create(
        {.model = options_.model, .geometry = capacity.geometry, .layers = layers}, backend_);
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    if (absl::Status status = MakeRopes(capacity.geometry.max_context_tokens); !status.ok()) {
      return status;
    }

    absl::StatusOr<std::unique_ptr<RowSource>> rows =
        RowSource::Create(store_.get(), options_.model, &threads_);
    if (!rows.ok()) return rows.status();
    rows_ = *std::move(rows);
    absl::StatusOr<std::unique_ptr<Verifier>> verifier =
        Verifier::Create(store_.get(), options_.model, rope_tables_, &threads_, options_.verifier);
    if (!verifier.ok()) return verifier.status();
    verifier_ = *std::move(verifier);
    return absl::OkStatus();
  }

  absl::Status MakeRopes(int32_t positions) {
    std::vector<RopeTableView> views;
    for (const RopeSpec& rope : options_.model.ropes) {
      std::optional<YarnScaling> yarn;
      if (rope.yarn_factor > 1) {
        yarn = {rope.yarn_factor, rope.yarn_original_length, rope.yarn_beta_fast,
                rope.yarn_beta_slow};
      }
      rope_tables_.push_back(MakeRopeTable(positions, rope.base, yarn));
      const std::vector<float>& table = rope_tables_.back();
      const float* data = table.data();
      if (backend_->name() != "host") {
        const int64_t size = static_cast<int64_t>(table.size());
        BackendMemory<float>& memory = device_ropes_.emplace_back();
        absl::Status status = memory.Allocate(*backend_, size);
        if (status.ok()) {
          status = backend_->Upload(memory.data(), data, size * int64_t{sizeof(float)}, stream_);
        }
        if (!status.ok()) return status;
        data = memory.data();
      }
      views.push_back({data, positions});
    }
    return store_->SetRopeTables(views);
  }

  const ReplayOptions& options_;
  const Stream stream_;
  ThreadPool threads_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
  std::vector<std::vector<float>> rope_tables_;
  std::vector<BackendMemory<float>> device_ropes_;
  std::unique_ptr<RowSource> rows_;
  std::unique_ptr<Verifier> verifier_;
};

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

// What the limits of a geometry do not check.
absl::Status CheckNumbers(const ReplayOptions& options) {
  const auto finite_from = [](double value, double least) {
    return value >= least && std::isfinite(value);
  };
  const SchedulerOptions& scheduler = options.scheduler;
  if (!finite_from(scheduler.step_ms, 0) || !finite_from(scheduler.tokens_per_second, 1e-3)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a step of %g ms plus its tokens / %g a second is no time",
                        scheduler.step_ms, scheduler.tokens_per_second));
  }
  const auto share = [](double value) { return value >= 0 && value <= 1; };
  if (!share(scheduler.acceptance) || !share(options.verifier.rate)) {
    return absl::InvalidArgumentError(
        absl::StrFormat("acceptance %g and verify %g must be from 0 to 1", scheduler.acceptance,
                        options.verifier.rate));
  }
  return absl::OkStatus();
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
         counters.skipped_positions == 0;
}

absl::StatusOr<ReplayResult> Replay(absl::Span<const TraceRequest> requests,
                                    const ReplayOptions& options) {
  if (absl::Status status = CheckNumbers(options); !status.ok()) return status;
  ReplayResult result;
  const int32_t sequences = options.scheduler.serial ? 1 : options.scheduler.sequences;
  absl::StatusOr<CapacityPlan> capacity =
      PlanCapacity({.model = options.model,
                    .memory_bytes = options.memory_bytes,
                    .limits = {.max_sequences = sequences,
                               .max_step_tokens = options.scheduler.step_tokens,
                               .max_drafts = options.scheduler.drafts,
                               .max_context_tokens = ContextOf(requests, options.model),
                               .store_whole_chunk = options.store_whole_chunk}});
  if (!capacity.ok()) return capacity.status();
  result.capacity = *std::move(capacity);

  absl::StatusOr<std::unique_ptr<Ledger>> ledger =
      Ledger::Create({.geometry = result.capacity.geometry});
  if (!ledger.ok()) return ledger.status();
  std::unique_ptr<StoreRunner> runner;
  result.backend = "none";
  if (options.with_data) {
    absl::StatusOr<std::unique_ptr<StoreRunner>> made =
        StoreRunner::Create(result.capacity, options);
    if (!made.ok()) return made.status();
    runner = *std::move(made);
    result.backend = std::string(runner->backend().name());
    result.layers = runner->store().layers();
    result.store_bytes = runner->store().memory_bytes();
  }

  Scheduler scheduler(ledger->get(), requests, runner.get(), options.scheduler);
  scheduler.OnStep(options.on_step);
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = scheduler.Run();
  if (status.ok() && runner != nullptr) status = runner->Finish();
  if (!status.ok()) return status;
  result.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  (*ledger)->CheckInvariants();
  for (int pool = 0; pool < result.capacity.geometry.num_pools; ++pool) {
    const PoolUse use = (*ledger)->Use(pool);
    result.leaked_blocks += use.capacity - use.free;
  }
  result.scheduler = scheduler.stats();
  result.occupancy = scheduler.occupancy();
  if (runner != nullptr) {
    result.verifier = runner->verifier().stats();
    result.counters = runner->store().ReadCounters();
  }
  result.peak_memory_bytes = PeakMemoryBytes();
  return result;
}

}  // namespace terrace
