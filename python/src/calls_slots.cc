// Rows by raw slot.

#include <utility>

#include "python/src/calls.h"
#include "python/src/calls_checks.h"
#include "python/src/words.h"

namespace terrace::python {
namespace {

class SlotsCall : public StoreCall {
 public:
  SlotsCall(StoreCore& core, const SlotsArguments& in, bool write)
      : layer_(in.layer), pool_(PoolKindOf(in.pool)), plane_(PlaneKindOf(in.plane)), write_(write) {
    tensors_.reserve(3);
    const TensorIn& slots = Add(TensorIn(in.slots, "slots", core.place, false));
    if (!slots.given()) RaiseInvalid("slots is None");
    TakeNumbers(slots);
    const int64_t count = slots.shape().shape[0];
    if (count > INT32_MAX) RaiseInvalid("slots has ", count, " numbers");
    slots_ = {.slots = static_cast<const int32_t*>(slots.data()),
              .count = static_cast<int32_t>(count)};
    const TensorIn& positions = Add(TensorIn(in.positions, "positions", core.place, false));
    if (positions.given()) {
      TakeNumbers(positions);
      if (positions.shape().shape[0] != count) {
        RaiseInvalid("positions has ", positions.shape().shape[0], " numbers for ", count,
                     " slots");
      }
      slots_.positions = static_cast<const int32_t*>(positions.data());
    }
    const int32_t channels = core.Channels(layer_, pool_, plane_);
    nb::object given = nb::borrow(in.rows);
    if (!write && in.rows.is_none()) given = NewTensor(core.place, {count, channels}, true);
    const TensorIn& rows = Add(TensorIn(given, write ? "rows" : "out", core.place, !write));
    if (!rows.given()) RaiseInvalid("rows is None");
    rows.CheckDimensions(2);
    rows.CheckBf16();
    rows.CheckDenseRows();
    CheckWidth(rows, 1, channels, "channels");
    if (rows.shape().shape[0] < count) {
      RaiseInvalid(rows.name(), " has ", rows.shape().shape[0], " rows for ", count, " slots");
    }
    const int64_t pitch = rows.Pitch(0, rows.shape().shape[1]);
    in_ = {.data = rows.data(), .pitch = pitch, .rotated = in.rotated};
    out_ = {.data = rows.data(), .row_pitch = pitch, .rotate = in.rotate};
    if (!write) out = std::move(given);
  }

  absl::Status Run(StoreCore& core, Stream stream) const override {
    if (slots_.count == 0) return absl::OkStatus();
    return write_ ? core.store->WriteSlots(layer_, pool_, plane_, in_, slots_, stream)
                  : core.store->ReadSlots(layer_, pool_, plane_, slots_, out_, stream);
  }

 private:
  static void TakeNumbers(const TensorIn& tensor) {
    tensor.CheckDimensions(1);
    tensor.CheckType(kTypeInt32, "int32");
    tensor.CheckDenseRows();
  }

  int layer_;
  PoolKind pool_;
  PlaneKind plane_;
  bool write_;
  SlotList slots_;
  RowsIn in_;
  RowsOut out_;
};

}  // namespace

std::unique_ptr<StoreCall> MakeWriteSlots(StoreCore& core, const SlotsArguments& arguments) {
  return std::make_unique<SlotsCall>(core, arguments, true);
}

std::unique_ptr<StoreCall> MakeReadSlots(StoreCore& core, const SlotsArguments& arguments) {
  return std::make_unique<SlotsCall>(core, arguments, false);
}

}  // namespace terrace::python
