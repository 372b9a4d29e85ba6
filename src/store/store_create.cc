// What a store makes once: its layers' place in the pools, its memory.

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/base/check.h"
#include "src/base/status_macros.h"
#include "src/model/geometry_builder.h"
#include "src/model/page_layout.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"
#include "terrace/capacity.h"

namespace terrace::internal {
namespace {

// A geometry matches a model iff it is the one that the model and the geometry's own limits make.
absl::Status CheckGeometry(const ModelSpec& model, const Geometry& geometry) {
  if (geometry.num_pools != static_cast<int64_t>(model.pools.size()) ||
      geometry.num_pools > kMaxPools) {
    return Invalid("the geometry has ", geometry.num_pools, " pools, model ", model.name, " has ",
                   model.pools.size());
  }
  const Limits limits = {.max_sequences = geometry.max_sequences,
                         .max_step_tokens = geometry.max_step_tokens,
                         .max_drafts = geometry.max_drafts,
                         .max_context_tokens = geometry.max_context_tokens,
                         .store_whole_chunk = geometry.store_whole_chunk != 0};
  std::vector<int32_t> capacity(geometry.num_pools);
  for (int p = 0; p < geometry.num_pools; ++p) capacity[p] = geometry.pools[p].capacity_blocks;
  TERRACE_ASSIGN_OR_RETURN(const Geometry expected, MakeGeometry(model, limits, capacity));
  if (std::memcmp(&expected, &geometry, sizeof(geometry)) != 0) {
    return Invalid("the geometry was not made from model ", model.name);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreImpl>> StoreImpl::Create(const StoreOptions& options,
                                                             std::shared_ptr<Backend> backend) {
  if (backend == nullptr) return Invalid("the backend is null");
  if (KernelBackend::Of(*backend) == nullptr) {
    return Invalid("backend ", backend->name(), " is none that MakeBackend made");
  }
  TERRACE_RETURN_IF_ERROR(CheckGeometry(options.model, options.geometry));
  const int64_t num_layers = static_cast<int64_t>(options.model.layers.size());
  LayerRange layers = options.layers;
  if (layers.first < 0 || layers.count < 0 || int64_t{layers.first} + layers.count > num_layers) {
    return Invalid("layers ", layers.first, " + ", layers.count, " are not in 0..", num_layers - 1);
  }
  if (layers.count == 0) {
    if (layers.first != 0) return Invalid("layers: ", layers.first, " + 0 is an empty range");
    layers.count = static_cast<int32_t>(num_layers);
  }
  auto impl = std::unique_ptr<StoreImpl>(new StoreImpl(options, layers, std::move(backend)));
  TERRACE_RETURN_IF_ERROR(impl->ResolveLayers());
  TERRACE_RETURN_IF_ERROR(impl->Allocate());
  return impl;
}

StoreImpl::StoreImpl(const StoreOptions& options, LayerRange layers,
                     std::shared_ptr<Backend> backend)
    : model_(options.model),
      geometry_(options.geometry),
      fingerprint_(Fingerprint(options.geometry)),
      layers_(layers),
      backend_(std::move(backend)),
      kernels_(KernelBackend::Of(*backend_)),
      epoch_(options.epoch) {}

// The memory goes back behind the last call.
StoreImpl::~StoreImpl() {
  for (PoolMemory& pool : pools_) pool.bytes.set_stream(stream_);
  tables_bytes_.set_stream(stream_);
}

absl::Status StoreImpl::ResolveLayers() {
  // A row's place in this store is its rank among the rows that the range writes.
  std::array<std::vector<int32_t>, kMaxPools> owned;
  for (int l = layers_.first; l < layers_.first + layers_.count; ++l) {
    for (const LayerPool& use : model_.layers[l].pools) {
      if (use.writes) owned[use.pool].push_back(use.index);
    }
  }
  for (std::vector<int32_t>& rows : owned) std::sort(rows.begin(), rows.end());

  layers_of_range_.resize(layers_.count);
  for (int l = layers_.first; l < layers_.first + layers_.count; ++l) {
    LayerOf(l).rope = model_.layers[l].rope;
    for (const LayerPool& use : model_.layers[l].pools) {
      const PoolSpec& pool = model_.pools[use.pool];
      const std::vector<int32_t>& rows = owned[use.pool];
      const auto at = std::lower_bound(rows.begin(), rows.end(), use.index);
      if (at == rows.end() || *at != use.index) {
        return Invalid("layer ", l, " reads row ", use.index, " of pool ", pool.name,
                       ", which no layer of ", layers_.first, "..",
                       layers_.first + layers_.count - 1, " writes");
      }
      LayerOf(l).of(pool.kind) = {use.pool, static_cast<int32_t>(at - rows.begin()), use.writes};
    }
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const int32_t rows = static_cast<int32_t>(owned[p].size());
    pools_[p].place =
        PlacePages(model_.pools[p], rows, geometry_.pools[p].capacity_blocks, geometry_.max_drafts);
    pools_[p].global_scale.assign(rows, 1.0f);
    pools_[p].written.assign(rows, false);
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::Allocate() {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    PoolMemory& pool = pools_[p];
    if (pool.place.total_bytes == 0) continue;
    TERRACE_RETURN_IF_ERROR(pool.bytes.Allocate(*backend_, pool.place.total_bytes, stream_));
    pool.base = pool.bytes.data();
  }
  TERRACE_RETURN_IF_ERROR(tables_bytes_.Allocate(*backend_, TableBytes(geometry_), stream_));
  tables_ = tables_bytes_.data();

  plan_bytes_ = MaxStepPlanBytes(geometry_);
  int32_t* next = reinterpret_cast<int32_t*>(tables_ + plan_bytes_);
  const auto take = [&next](int64_t entries) { return std::exchange(next, next + entries); };
  view_.header = reinterpret_cast<PlanHeader*>(tables_);
  view_.counters = backend_->counters();
  constexpr int64_t kTokenRowWords = sizeof(TokenRow) / sizeof(int32_t);
  view_.tokens = reinterpret_cast<TokenRow*>(take(geometry_.max_step_tokens * kTokenRowWords));
  view_.token_record = take(geometry_.max_step_tokens);
  view_.token_position = take(geometry_.max_step_tokens);
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (p == geometry_.window_pool) {
      view_.slots[p] = take(geometry_.max_step_tokens);
    } else if (geometry_.pools[p].kind == PoolKind::kFull) {
      view_.slots[p] = take(MaxEntryRows(geometry_, PoolIndex(p)));
      view_.entry_position[p] = take(MaxEntryRows(geometry_, PoolIndex(p)));
    }
  }
  block_tables_ = next;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    view_.block_table[p] =
        take(int64_t{geometry_.max_sequences} * geometry_.pools[p].blocks_per_sequence);
  }
  block_tables_entries_ = next - block_tables_;
  TERRACE_CHECK_LE(reinterpret_cast<uint8_t*>(next) - tables_, tables_bytes_.size());
  TERRACE_RETURN_IF_ERROR(ResetTables(Stream{}));
  return backend_->Synchronize(Stream{});
}

}  // namespace terrace::internal
