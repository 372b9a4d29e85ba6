#include "terrace/store.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "src/base/check.h"
#include "src/model/geometry_builder.h"
#include "src/model/page_layout.h"
#include "src/store/store_impl.h"
#include "terrace/capacity.h"

namespace terrace {
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
  absl::StatusOr<Geometry> expected = MakeGeometry(model, limits, capacity);
  if (!expected.ok()) return expected.status();
  if (std::memcmp(&*expected, &geometry, sizeof(geometry)) != 0) {
    return Invalid("the geometry was not made from model ", model.name);
  }
  return absl::OkStatus();
}

}  // namespace

Store::Impl::Impl(const StoreOptions& options, LayerRange layers, std::shared_ptr<Backend> backend)
    : model_(options.model),
      geometry_(options.geometry),
      fingerprint_(Fingerprint(options.geometry)),
      layers_(layers),
      backend_(std::move(backend)) {}

Store::Impl::~Impl() {
  for (PoolMemory& pool : pools_) backend_->Free(pool.base);
  backend_->Free(tables_);
}

absl::Status Store::Impl::ResolveLayers() {
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
    layer(l).rope = model_.layers[l].rope;
    for (const LayerPool& use : model_.layers[l].pools) {
      const PoolSpec& pool = model_.pools[use.pool];
      const std::vector<int32_t>& rows = owned[use.pool];
      const auto at = std::lower_bound(rows.begin(), rows.end(), use.index);
      if (at == rows.end() || *at != use.index) {
        return Invalid("layer ", l, " reads row ", use.index, " of pool ", pool.name,
                       ", which no layer of ", layers_.first, "..",
                       layers_.first + layers_.count - 1, " writes");
      }
      layer(l).row(pool.kind) = {use.pool, static_cast<int32_t>(at - rows.begin()), use.writes};
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

absl::Status Store::Impl::Allocate() {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    PoolMemory& pool = pools_[p];
    if (pool.place.total_bytes == 0) continue;
    absl::StatusOr<void*> memory = backend_->Allocate(pool.place.total_bytes);
    if (!memory.ok()) return memory.status();
    pool.base = static_cast<uint8_t*>(*memory);
  }
  tables_bytes_ = TableBytes(geometry_);
  absl::StatusOr<void*> memory = backend_->Allocate(tables_bytes_);
  if (!memory.ok()) return memory.status();
  tables_ = static_cast<uint8_t*>(*memory);

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
      view_.slots[p] = take(MaxEntryRows(geometry_, p));
      view_.entry_position[p] = take(MaxEntryRows(geometry_, p));
    }
  }
  block_tables_ = next;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    view_.block_table[p] =
        take(int64_t{geometry_.max_sequences} * geometry_.pools[p].blocks_per_sequence);
  }
  block_tables_entries_ = next - block_tables_;
  TERRACE_CHECK_LE(reinterpret_cast<uint8_t*>(next) - tables_, tables_bytes_);
  if (absl::Status status = ResetTables(Stream{}); !status.ok()) return status;
  return backend_->Synchronize(Stream{});
}

absl::Status Store::Impl::CheckLayer(int layer_index) const {
  const int32_t last = layers_.first + layers_.count - 1;
  if (layer_index >= layers_.first && layer_index <= last) return absl::OkStatus();
  return Invalid("layer ", layer_index, " is not in this store's ", layers_.first, "..", last);
}

absl::StatusOr<Store::Impl::Row> Store::Impl::FindRow(int layer_index, PoolKind kind) const {
  if (absl::Status status = CheckLayer(layer_index); !status.ok()) return status;
  if (static_cast<int>(kind) < 0 || static_cast<int>(kind) >= kNumPoolKinds) {
    return Invalid("unknown kind of pool ", static_cast<int>(kind));
  }
  const Row& row = layer(layer_index).row(kind);
  if (row.pool < 0) return Invalid("layer ", layer_index, " has no ", PoolKindName(kind), " pool");
  return row;
}

absl::Status Store::Impl::CheckPlane(const Row& row, int plane) const {
  const PoolSpec& pool = model_.pools[row.pool];
  if (plane < 0 || plane >= static_cast<int>(pool.planes.size())) {
    return Invalid("pool ", pool.name, " has ", pool.planes.size(), " planes, no plane ", plane,
                   plane == static_cast<int>(PlaneKind::kIndexer) ? " (indexer)" : "");
  }
  return absl::OkStatus();
}

absl::StatusOr<RopeTableView> Store::Impl::RopeOf(int layer_index) const {
  if (ropes_.empty()) {
    return absl::FailedPreconditionError("rows rotate here: call SetRopeTables first");
  }
  return ropes_[layer(layer_index).rope];
}

absl::Status Store::Impl::CheckStepBegun() const {
  if (begun_) return absl::OkStatus();
  return absl::FailedPreconditionError("no step has begun: call Begin with a plan first");
}

PlanePages Store::Impl::PagesOf(const Row& row, int plane) const {
  const PoolMemory& memory = pools_[row.pool];
  const PoolGeometry& pool = geometry_.pools[row.pool];
  const RowFormat format = plane_spec(row, plane).format;
  return {
      .base = memory.base + row.row * memory.place.layer_stride + memory.place.plane_offset[plane],
      .block_stride = memory.place.block_stride,
      .scale_offset = int64_t{pool.entries_per_block} * LayoutOf(format).data_bytes,
      .log2_entries_per_block = pool.log2_entries_per_block,
      .num_slots = pool.capacity_blocks * pool.entries_per_block,
      .format = format,
      .global_scale =
          plane == static_cast<int>(PlaneKind::kLatent) ? memory.global_scale[row.row] : 1.0f};
}

absl::StatusOr<std::unique_ptr<Store>> Store::Create(const StoreOptions& options,
                                                     std::shared_ptr<Backend> backend) {
  if (backend == nullptr) return Invalid("the backend is null");
  if (absl::Status status = CheckGeometry(options.model, options.geometry); !status.ok()) {
    return status;
  }
  const int64_t num_layers = static_cast<int64_t>(options.model.layers.size());
  LayerRange layers = options.layers;
  if (layers.first < 0 || layers.count < 0 || int64_t{layers.first} + layers.count > num_layers) {
    return Invalid("layers ", layers.first, " + ", layers.count, " are not in 0..", num_layers - 1);
  }
  if (layers.count == 0) {
    if (layers.first != 0) return Invalid("layers: ", layers.first, " + 0 is an empty range");
    layers.count = static_cast<int32_t>(num_layers);
  }
  auto impl = std::make_unique<Impl>(options, layers, std::move(backend));
  if (absl::Status status = impl->ResolveLayers(); !status.ok()) return status;
  if (absl::Status status = impl->Allocate(); !status.ok()) return status;
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

absl::Status Store::SetRopeTables(absl::Span<const RopeTableView> tables) {
  if (tables.size() != impl_->model_.ropes.size()) {
    return Invalid(tables.size(), " rope tables for ", impl_->model_.ropes.size(), " ropes");
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    if (tables[i].data == nullptr || tables[i].positions < 1 || !IsAligned(tables[i].data, 16)) {
      return Invalid("rope table ", i, " is null, empty or not 16-byte aligned");
    }
  }
  impl_->ropes_.assign(tables.begin(), tables.end());
  return absl::OkStatus();
}

absl::Status Store::SetGlobalScale(int layer, PoolKind pool, float scale) {
  absl::StatusOr<Impl::Row> row = impl_->FindRow(layer, pool);
  if (!row.ok()) return row.status();
  if (absl::Status status = impl_->CheckPlane(*row, 0); !status.ok()) return status;
  if (!std::isfinite(scale) || scale <= 0) {
    return Invalid("the global scale is ", scale, ", not finite and above 0");
  }
  Impl::PoolMemory& memory = impl_->pools_[row->pool];
  if (memory.written[row->row]) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer ", layer, " of pool ", impl_->model_.pools[row->pool].name,
                     " was written already: its global scale is fixed"));
  }
  memory.global_scale[row->row] = scale;
  return absl::OkStatus();
}

absl::StatusOr<PageView> Store::Pages(int layer, PoolKind pool, PlaneKind plane) const {
  absl::StatusOr<Impl::Row> row = impl_->FindRow(layer, pool);
  if (!row.ok()) return row.status();
  const int plane_index = static_cast<int>(plane);
  const PoolGeometry& geometry = impl_->geometry_.pools[row->pool];
  if (!HoldsRows(geometry.kind)) {
    if (plane != PlaneKind::kLatent) {
      return Invalid("pages of pool ", impl_->model_.pools[row->pool].name, " have no planes");
    }
    const Impl::PoolMemory& memory = impl_->pools_[row->pool];
    // The overlap pool may have no blocks, and then no memory.
    uint8_t* const base =
        memory.base == nullptr ? nullptr : memory.base + row->row * memory.place.layer_stride;
    return PageView{.base = base,
                    .block_stride = memory.place.block_stride,
                    .page_bytes = memory.place.page_bytes[0],
                    .num_blocks = geometry.capacity_blocks,
                    .entries_per_block = 1};
  }
  if (absl::Status status = impl_->CheckPlane(*row, plane_index); !status.ok()) return status;
  const PlanePages pages = impl_->PagesOf(*row, plane_index);
  const RowLayout layout = LayoutOf(pages.format);
  return PageView{.base = pages.base,
                  .block_stride = pages.block_stride,
                  .page_bytes = impl_->pools_[row->pool].place.page_bytes[plane_index],
                  .num_blocks = geometry.capacity_blocks,
                  .entries_per_block = geometry.entries_per_block,
                  .format = pages.format,
                  .data_bytes = layout.data_bytes,
                  .scale_bytes = layout.scale_bytes};
}

Counters Store::ReadCounters() const { return impl_->backend_->ReadCounters(); }
const PlanHeader& Store::step() const { return impl_->step_; }
const StepView& Store::step_view() const { return impl_->view_; }
Backend& Store::backend() { return *impl_->backend_; }
const Geometry& Store::geometry() const { return impl_->geometry_; }
LayerRange Store::layers() const { return impl_->layers_; }

int64_t Store::memory_bytes() const {
  int64_t bytes = impl_->tables_bytes_;
  for (const Impl::PoolMemory& pool : impl_->pools_) bytes += pool.place.total_bytes;
  return bytes;
}

}  // namespace terrace
