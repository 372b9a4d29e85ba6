// Write: the rows of one layer.

#include <algorithm>
#include <utility>

#include "python/src/calls.h"
#include "python/src/calls_checks.h"

namespace terrace::python {
namespace {

class WriteCall : public StoreCall {
 public:
  WriteCall(StoreCore& core, const WriteArguments& in) : layer_(in.layer), graph_(in.graph) {
    tensors_.reserve(3);
    full_pool_ = core.PoolOf(layer_, PoolKind::kFull);
    Take(core, in.swa, "swa", PoolKind::kWindow, PlaneKind::kLatent, in.rotated, &rows_.swa);
    Take(core, in.entries, "entries", PoolKind::kFull, PlaneKind::kLatent, in.rotated,
         &rows_.entries);
    Take(core, in.indexer, "indexer", PoolKind::kFull, PlaneKind::kIndexer, in.rotated,
         &rows_.indexer);
  }

  absl::Status Run(StoreCore& core, Stream stream) const override {
    const PlanHeader& step = core.store->step();
    const int64_t entry_rows = full_pool_ < 0 ? 0 : step.num_entry_rows[full_pool_];
    absl::Status status = CheckRows(tensors_[0], step.num_token_rows, "token rows");
    if (status.ok()) status = CheckRows(tensors_[1], entry_rows, "entries that close");
    if (status.ok()) status = CheckRows(tensors_[2], entry_rows, "entries that close");
    if (!status.ok()) return status;
    LayerRows rows = rows_;
    if (graph_) {
      const Geometry& geometry = core.store->geometry();
      rows.swa.capacity = Capacity(tensors_[0], geometry.max_step_tokens);
      const int64_t most = full_pool_ < 0 ? 0 : MaxEntryRows(geometry, PoolIndex(full_pool_));
      rows.entries.capacity = Capacity(tensors_[1], most);
      rows.indexer.capacity = Capacity(tensors_[2], most);
    }
    return core.On([&](auto& store) { return store.Write(layer_, rows, stream); });
  }

 private:
  void Take(StoreCore& core, nb::handle value, const char* name, PoolKind kind, PlaneKind plane,
            bool rotated, RowsIn* rows) {
    const TensorIn& tensor = Add(TensorIn(value, name, core.place, false));
    if (!tensor.given()) return;
    tensor.CheckDimensions(2);
    tensor.CheckBf16();
    tensor.CheckDenseRows();
    CheckWidth(tensor, 1, core.Channels(layer_, kind, plane), "channels");
    *rows = {.data = tensor.data(),
             .pitch = tensor.Pitch(0, tensor.shape().shape[1]),
             .rotated = rotated};
  }

  static int32_t Capacity(const TensorIn& tensor, int64_t most) {
    if (!tensor.given()) return 0;
    return static_cast<int32_t>(std::min(tensor.shape().shape[0], most));
  }

  int layer_;
  bool graph_;
  int full_pool_ = -1;
  LayerRows rows_;
};

}  // namespace

std::unique_ptr<StoreCall> MakeWrite(StoreCore& core, const WriteArguments& arguments) {
  return std::make_unique<WriteCall>(core, arguments);
}

}  // namespace terrace::python
