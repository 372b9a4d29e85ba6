#include "terrace/cache.h"

#include <algorithm>
#include <array>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "terrace/backend_buffer.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/rope_table.h"

namespace terrace {
namespace {

constexpr int64_t kSlabPositions = 1 << 15;  // 8 MiB of table at a time on its way to the backend
constexpr int64_t kPositionsWorthAThread = 1 << 10;

std::array<double, kRopePairs> Frequencies(const RopeSpec& rope) {
  if (rope.yarn_factor <= 1) return RopeFrequencies(rope.base);
  return RopeFrequencies(rope.base, YarnScaling{.factor = rope.yarn_factor,
                                                .original_length = rope.yarn_original_length,
                                                .beta_fast = rope.yarn_beta_fast,
                                                .beta_slow = rope.yarn_beta_slow});
}

// Fills rows [count, 64] of the positions from `first` on.
void FillSlab(const std::array<double, kRopePairs>& frequencies, int64_t first, int64_t count,
              float* rows) {
  const auto fill = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      FillRopeRow(frequencies, first + i, rows + i * kRopeChannels);
    }
  };
  const int64_t threads = std::clamp<int64_t>(
      count / kPositionsWorthAThread, 1, std::max<int64_t>(std::thread::hardware_concurrency(), 1));
  std::vector<std::thread> helpers;
  for (int64_t t = 1; t < threads; ++t) {
    helpers.emplace_back(fill, count * t / threads, count * (t + 1) / threads);
  }
  fill(0, count / threads);
  for (std::thread& helper : helpers) helper.join();
}

absl::Status UploadRopeTable(const RopeSpec& rope, int64_t positions, Backend& backend,
                             BackendBuffer<float>& table) {
  const std::array<double, kRopePairs> frequencies = Frequencies(rope);
  std::vector<float> slab(std::min(positions, kSlabPositions) * kRopeChannels);
  for (int64_t first = 0; first < positions; first += kSlabPositions) {
    const int64_t count = std::min(kSlabPositions, positions - first);
    FillSlab(frequencies, first, count, slab.data());
    const absl::Span<const float> rows(slab.data(), count * kRopeChannels);
    if (absl::Status status = table.Upload(rows, Stream{}, first * kRopeChannels); !status.ok()) {
      return status;
    }
  }
  return backend.Synchronize({});
}

}  // namespace

class Cache::Impl {
 public:
  explicit Impl(std::shared_ptr<Backend> owner) : backend(std::move(owner)) {}
  ~Impl() {
    if (store == nullptr) return;
    for (BackendBuffer<float>& table : rope_tables) table.set_stream(store->stream());
  }

  absl::Status MakeRopeTables(const ModelSpec& model, int32_t max_positions);

  CapacityPlan capacity;
  std::shared_ptr<Backend> backend;
  std::vector<BackendBuffer<float>> rope_tables;  // one per ModelSpec::ropes
  std::unique_ptr<Ledger> ledger;
  std::unique_ptr<Store> store;
};

absl::Status Cache::Impl::MakeRopeTables(const ModelSpec& model, int32_t max_positions) {
  std::vector<RopeTableView> views;
  for (size_t i = 0; i < model.ropes.size(); ++i) {
    const bool used =
        std::any_of(model.layers.begin(), model.layers.end(),
                    [i](const LayerSpec& layer) { return layer.rope == static_cast<int32_t>(i); });
    const int32_t positions = used ? max_positions : 1;
    auto table = BackendBuffer<float>::Make(*backend, int64_t{positions} * kRopeChannels, Stream{});
    if (!table.ok()) return table.status();
    if (absl::Status status = UploadRopeTable(model.ropes[i], positions, *backend, *table);
        !status.ok()) {
      return status;
    }
    views.push_back({table->data(), positions});
    rope_tables.push_back(*std::move(table));
  }
  return store->SetRopeTables(views);
}

Cache::Cache(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Cache::~Cache() = default;

absl::StatusOr<std::unique_ptr<Cache>> Cache::Create(const CacheOptions& options) {
  absl::StatusOr<CapacityPlan> capacity =
      PlanCapacity({.model = options.model,
                    .memory_bytes = options.memory_bytes,
                    .limits = options.limits,
                    .prefix_reuse = options.prefix.enabled,
                    .in_flight_plans = options.in_flight_plans});
  if (!capacity.ok()) return capacity.status();
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(options.backend);
  if (!backend.ok()) return backend.status();

  auto impl = std::make_unique<Impl>(*std::move(backend));
  impl->capacity = *std::move(capacity);
  absl::StatusOr<std::unique_ptr<Store>> store =
      Store::Create({.model = options.model, .geometry = impl->capacity.geometry}, impl->backend);
  if (!store.ok()) return store.status();
  impl->store = *std::move(store);
  // After the store: memory that cannot be had fails there, before the ledger counts its blocks.
  absl::StatusOr<std::unique_ptr<Ledger>> ledger =
      Ledger::Create({.geometry = impl->capacity.geometry,
                      .in_flight_plans = options.in_flight_plans,
                      .prefix = options.prefix});
  if (!ledger.ok()) return ledger.status();
  impl->ledger = *std::move(ledger);
  if (absl::Status status =
          impl->MakeRopeTables(options.model, impl->capacity.geometry.max_context_tokens);
      !status.ok()) {
    return status;
  }
  return std::unique_ptr<Cache>(new Cache(std::move(impl)));
}

absl::StatusOr<Admission> Cache::AllocateSequence(const SequenceRequest& request) {
  return impl_->ledger->AllocateSequence(request);
}

absl::StatusOr<PrefixMatch> Cache::Probe(const SequenceRequest& request) const {
  return impl_->ledger->Probe(request);
}

absl::StatusOr<PrefixMatch> Cache::ExtendMatch(SequenceId id) {
  return impl_->ledger->ExtendMatch(id);
}

absl::StatusOr<SequenceId> Cache::Fork(SequenceId id) { return impl_->ledger->Fork(id); }

absl::StatusOr<Plan> Cache::Append(absl::Span<const StepRequest> batch) {
  return impl_->ledger->Append(batch);
}

absl::Status Cache::Commit(SequenceId id, absl::Span<const int32_t> tokens) {
  return impl_->ledger->Commit(id, tokens);
}

absl::Status Cache::Truncate(SequenceId id, int32_t length) {
  return impl_->ledger->Truncate(id, length);
}

absl::Status Cache::FreeSequence(SequenceId id) { return impl_->ledger->FreeSequence(id); }

absl::Status Cache::Retire(PlanNumber plan) { return impl_->ledger->Retire(plan); }

absl::Status Cache::Begin(const Plan& plan, Stream stream) {
  return impl_->store->Begin(plan, stream);
}

absl::Status Cache::Write(int layer, const LayerRows& rows, Stream stream) {
  return impl_->store->Write(layer, rows, stream);
}

absl::Status Cache::Compress(int layer, const CompressInputs& inputs, Stream stream) {
  return impl_->store->Compress(layer, inputs, stream);
}

absl::Status Cache::TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                                  const SlotsOut& out, Stream stream) {
  return impl_->store->TranslateTopK(layer, queries, top_k, out, stream);
}

absl::Status Cache::TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                     const SlotsOut& out, Stream stream) {
  return impl_->store->TranslateVisible(layer, queries, max_entries, out, stream);
}

absl::Status Cache::TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                                    Stream stream) {
  return impl_->store->TranslateWindow(layer, queries, out, stream);
}

absl::Status Cache::GatherTopK(int layer, const Queries& queries, const TopK& top_k,
                               const RowsOut& out, Stream stream) {
  return impl_->store->GatherTopK(layer, queries, top_k, out, stream);
}

absl::Status Cache::GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                                  const RowsOut& out, Stream stream) {
  return impl_->store->GatherVisible(layer, queries, max_entries, out, stream);
}

absl::Status Cache::GatherWindow(int layer, const Queries& queries, const RowsOut& out,
                                 Stream stream) {
  return impl_->store->GatherWindow(layer, queries, out, stream);
}

absl::StatusOr<PageView> Cache::Pages(int layer, PoolKind pool, PlaneKind plane) const {
  return impl_->store->Pages(layer, pool, plane);
}

Ledger& Cache::ledger() { return *impl_->ledger; }
Store& Cache::store() { return *impl_->store; }
const CapacityPlan& Cache::capacity() const { return impl_->capacity; }

}  // namespace terrace
