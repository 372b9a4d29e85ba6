#include "python/src/store_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "python/src/memory_resource.h"
#include "python/src/numbers.h"
#include "python/src/streams.h"
#include "python/src/words.h"
#include "terrace/formats/row_format.h"

namespace terrace::python {

int StoreCore::PoolOf(int layer, PoolKind kind) const {
  if (layer < 0 || layer >= static_cast<int>(model.layers.size())) return -1;
  for (const LayerPool& pool : model.layers[layer].pools) {
    if (model.pools[pool.pool].kind == kind) return pool.pool;
  }
  return -1;
}

int32_t StoreCore::Channels(int layer, PoolKind kind, PlaneKind plane) const {
  const int pool = PoolOf(layer, kind);
  if (pool < 0) return 0;
  const std::vector<PlaneSpec>& planes = model.pools[pool].planes;
  const size_t index = static_cast<size_t>(plane);
  return index < planes.size() ? LayoutOf(planes[index].format).channels : 0;
}

int32_t StoreCore::Ratio(int layer) const {
  const int pool = PoolOf(layer, PoolKind::kFull);
  return pool < 0 ? 0 : model.pools[pool].ratio;
}

BackendOptions BackendArguments::Options(StoreCore& core) const {
  if (!memory.is_none()) core.memory = std::make_shared<PyMemoryResource>(nb::borrow(memory));
  return {.kind = BackendKindOf(kind),
          .device = device,
          .host_threads = host_threads,
          .memory = core.memory.get(),
          .nvtx = nvtx};
}

Place PlaceOf(const Backend& backend, int32_t device) {
  return {.cuda = backend.name() == "cuda", .device = device};
}

void Begin(StoreCore& core, const Plan& plan, nb::handle stream, int32_t padded_token_rows) {
  const Stream on = StreamOf(stream, core.place, nullptr);
  const Entered entered(core.lock);
  Check([&] {
    const nb::gil_scoped_release released;
    return core.store->Begin(plan, on, padded_token_rows);
  }());
  core.padded_rows = std::max(padded_token_rows, plan.header().num_token_rows);
}

int PoolNumber(const ModelSpec& model, nb::handle pool) {
  if (PyUnicode_Check(pool.ptr())) {
    const std::string name = nb::cast<std::string>(pool);
    std::string known;
    for (size_t i = 0; i < model.pools.size(); ++i) {
      if (model.pools[i].name == name) return static_cast<int>(i);
      absl::StrAppend(&known, known.empty() ? "" : ", ", model.pools[i].name);
    }
    RaiseInvalid("no pool is named \"", name, "\"; there are ", known);
  }
  const int32_t index = WholeNumber<int32_t>(pool, "pool");
  if (index < 0 || index >= static_cast<int>(model.pools.size())) {
    RaiseInvalid("pool ", index, " is not in 0..", static_cast<int>(model.pools.size()) - 1);
  }
  return index;
}

void CopyBlocks(StoreCore& core, nb::handle pool, nb::handle sources, nb::handle destinations,
                nb::handle stream) {
  const int index = PoolNumber(core.model, pool);
  const Numbers<int32_t> from(sources, "sources");
  const Numbers<int32_t> to(destinations, "destinations");
  if (from.size() != to.size()) {
    RaiseInvalid(from.size(), " sources for ", to.size(), " destinations");
  }
  std::vector<BlockCopy> copies(from.size());
  for (int64_t i = 0; i < from.size(); ++i) copies[i] = {index, from[i], to[i], 0};
  const Stream on = StreamOf(stream, core.place, nullptr);
  const Entered entered(core.lock);
  Check([&] {
    const nb::gil_scoped_release released;
    return core.store->CopyBlocks(copies, on);
  }());
}

void SetGlobalScale(StoreCore& core, int layer, nb::handle pool, float scale) {
  const PoolKind kind = PoolKindOf(pool);
  const Entered entered(core.lock);
  Check(core.store->SetGlobalScale(layer, kind, scale));
}

void SetRopeTables(StoreCore& core, nb::handle tables) {
  std::vector<TensorIn> kept;
  std::vector<RopeTableView> views;
  if (!PySequence_Check(tables.ptr())) RaiseInvalid("tables is no list of tensors");
  for (const nb::handle table : nb::borrow<nb::sequence>(tables)) {
    TensorIn tensor(table, "tables", core.place, false);
    if (!tensor.given()) RaiseInvalid("a rope table is None");
    tensor.CheckDimensions(2);
    tensor.CheckType(kTypeFloat32, "float32");
    tensor.CheckDense();
    const int64_t positions = tensor.shape().shape[0];
    if (tensor.shape().shape[1] != kRopeChannels || positions > INT32_MAX) {
      RaiseInvalid("a rope table is [positions, ", kRopeChannels, "], not [", positions, ", ",
                   tensor.shape().shape[1], "]");
    }
    views.push_back({static_cast<const float*>(tensor.data()), static_cast<int32_t>(positions)});
    kept.push_back(std::move(tensor));
  }
  const Entered entered(core.lock);
  Check(core.store->SetRopeTables(views));
  core.rope_tables = std::move(kept);
}

Counters ReadCounters(StoreCore& core) {
  const Entered entered(core.lock);
  const nb::gil_scoped_release released;
  return core.store->ReadCounters();
}

void Synchronize(StoreCore& core, nb::handle stream) {
  const Stream on = StreamOf(stream, core.place, nullptr);
  const Entered entered(core.lock);
  Check([&] {
    const nb::gil_scoped_release released;
    return core.store->backend().Synchronize(on);
  }());
}

}  // namespace terrace::python
