// Translate and gather: what the queries of a step read.

#include <algorithm>
#include <utility>

#include "python/src/calls.h"
#include "python/src/calls_checks.h"
#include "python/src/numbers.h"
#include "terrace/units.h"

namespace terrace::python {
namespace {

// What all reads have in common: which rows of the step ask, and for what.
class ReadCall : public StoreCall {
 public:
  ReadCall(StoreCore& core, const ReadArguments& in) : chosen_(in.chosen), layer_(in.layer) {
    tensors_.reserve(4);
    TakeQueries(core, in.queries);
    TakeEntries(core, in);
  }

 protected:
  void TakeQueries(StoreCore& core, nb::handle queries) {
    if (queries.is_none()) {
      all_ = true;
      Add(TensorIn());
    } else if (PyLong_Check(queries.ptr())) {
      queries_.count = WholeNumber<int32_t>(queries, "queries");
      if (queries_.count < 0) RaiseInvalid("queries is ", queries_.count, ", negative");
      none_ = queries_.count == 0;
      Add(TensorIn());
    } else {
      const TensorIn& rows = Add(TensorIn(queries, "queries", core.place, false));
      rows.CheckDimensions(1);
      rows.CheckType(kTypeInt32, "int32");
      rows.CheckDenseRows();
      if (rows.shape().shape[0] > INT32_MAX) RaiseInvalid("queries are too many");
      queries_ = {static_cast<const int32_t*>(rows.data()),
                  static_cast<int32_t>(rows.shape().shape[0])};
      none_ = queries_.count == 0;
    }
  }

  void TakeEntries(StoreCore& core, const ReadArguments& in) {
    switch (chosen_) {
      case Chosen::kWindow:
        rows_per_query_ = core.store->geometry().window_tokens;
        Add(TensorIn());
        return;
      case Chosen::kVisible:
        if (in.max_entries.is_none()) {
          if (in.out.is_none()) RaiseInvalid("neither max_entries nor out is given");
          rows_per_query_ = -1;  // what `out` holds
        } else {
          rows_per_query_ = WholeNumber<int32_t>(in.max_entries, "max_entries");
          if (rows_per_query_ < 1)
            RaiseInvalid("max_entries is ", rows_per_query_, ", not above 0");
        }
        Add(TensorIn());
        return;
      case Chosen::kTopK:
        break;
    }
    const TensorIn& entries = Add(TensorIn(in.entries, "entries", core.place, false));
    if (!entries.given()) RaiseInvalid("entries is None");
    entries.CheckDimensions(2);
    entries.CheckType(kTypeInt32, "int32");
    entries.CheckDenseRows();
    const int64_t k = entries.shape().shape[1];
    if (k < 1 || k > INT32_MAX) RaiseInvalid("entries has ", k, " columns, not at least 1");
    rows_per_query_ = static_cast<int32_t>(k);
    top_k_ = {static_cast<const int32_t*>(entries.data()), entries.Pitch(0, k),
              static_cast<int32_t>(k)};
  }

  // How many queries a run has.
  int64_t Count(const StoreCore& core) const { return all_ ? core.padded_rows : queries_.count; }

  absl::Status CheckCounts(const StoreCore& core) const {
    const int64_t count = Count(core);
    for (size_t i = 1; i < tensors_.size(); ++i) {  // behind the queries themselves
      const TensorIn& tensor = tensors_[i];
      if (!tensor.given() || tensor.shape().shape[0] >= count) continue;
      return Invalid(tensor.name(), " is for ", tensor.shape().shape[0], " queries, not for ",
                     count);
    }
    return absl::OkStatus();
  }

  Chosen chosen_;
  int layer_;
  Queries queries_;
  bool all_ = false;   // the step's rows
  bool none_ = false;  // no query at all
  TopK top_k_;
  int32_t rows_per_query_ = 0;
};

class TranslateCall : public ReadCall {
 public:
  TranslateCall(StoreCore& core, const ReadArguments& in) : ReadCall(core, in) {
    out = nb::borrow(in.out);
    if (in.out.is_none()) {
      out = NewTensor(core.place, {Count(core), RoundUp(rows_per_query_, 64)}, false);
    }
    const TensorIn& slots = Add(TensorIn(out, "out", core.place, true));
    slots.CheckDimensions(2);
    slots.CheckType(kTypeInt32, "int32");
    slots.CheckDenseRows();
    const int64_t columns = slots.shape().shape[1];
    if (rows_per_query_ < 0) {
      if (columns < 1 || columns > INT32_MAX) RaiseInvalid("out has ", columns, " columns");
      rows_per_query_ = static_cast<int32_t>(columns);
    }
    const int64_t pitch = slots.Pitch(0, columns);
    const int64_t padded = RoundUp(rows_per_query_, 64);
    if (columns < std::min(padded, pitch) || columns < rows_per_query_) {
      RaiseInvalid("out has ", columns, " columns, not ", padded, " (", rows_per_query_,
                   " rows a query, rounded up to 64)");
    }
    slots_ = {.slots = static_cast<int32_t*>(slots.data()), .pitch = pitch};
    const TensorIn& lengths = Add(TensorIn(in.lengths, "lengths", core.place, true));
    if (!lengths.given()) return;
    lengths.CheckDimensions(1);
    lengths.CheckType(kTypeInt32, "int32");
    lengths.CheckDenseRows();
    slots_.lengths = static_cast<int32_t*>(lengths.data());
  }

  absl::Status Run(StoreCore& core, Stream stream) const override {
    if (none_) return absl::OkStatus();
    if (absl::Status status = CheckCounts(core); !status.ok()) return status;
    switch (chosen_) {
      case Chosen::kTopK:
        return core.On([&](auto& store) {
          return store.TranslateTopK(layer_, queries_, top_k_, slots_, stream);
        });
      case Chosen::kVisible:
        return core.On([&](auto& store) {
          return store.TranslateVisible(layer_, queries_, rows_per_query_, slots_, stream);
        });
      case Chosen::kWindow:
        return core.On(
            [&](auto& store) { return store.TranslateWindow(layer_, queries_, slots_, stream); });
    }
    return absl::OkStatus();
  }

 private:
  SlotsOut slots_;
};

class GatherCall : public ReadCall {
 public:
  GatherCall(StoreCore& core, const ReadArguments& in) : ReadCall(core, in), plane_(in.plane) {
    const PoolKind kind = chosen_ == Chosen::kWindow ? PoolKind::kWindow : PoolKind::kFull;
    const int32_t channels = core.Channels(layer_, kind, plane_);
    out = nb::borrow(in.out);
    if (in.out.is_none()) {
      out = NewTensor(core.place, {Count(core), rows_per_query_, channels}, true);
    }
    const TensorIn& rows = Add(TensorIn(out, "out", core.place, true));
    rows.CheckDimensions(3);
    rows.CheckBf16();
    rows.CheckDenseRows();
    CheckWidth(rows, 2, channels, "channels");
    if (rows_per_query_ < 0) {
      const int64_t most = rows.shape().shape[1];
      if (most < 1 || most > INT32_MAX) RaiseInvalid("out has room for ", most, " rows a query");
      rows_per_query_ = static_cast<int32_t>(most);
    }
    CheckWidth(rows, 1, rows_per_query_, "rows a query");
    const int64_t row_pitch = rows.Pitch(1, rows.shape().shape[2]);
    rows_ = {.data = rows.data(),
             .row_pitch = row_pitch,
             .query_pitch = rows.Pitch(0, rows_per_query_ * row_pitch),
             .rotate = in.rotate};
  }

  absl::Status Run(StoreCore& core, Stream stream) const override {
    if (none_) return absl::OkStatus();
    if (absl::Status status = CheckCounts(core); !status.ok()) return status;
    switch (chosen_) {
      case Chosen::kTopK:
        return core.On([&](auto& store) {
          return store.GatherTopK(layer_, queries_, top_k_, rows_, stream, plane_);
        });
      case Chosen::kVisible:
        return core.On([&](auto& store) {
          return store.GatherVisible(layer_, queries_, rows_per_query_, rows_, stream, plane_);
        });
      case Chosen::kWindow:
        return core.On(
            [&](auto& store) { return store.GatherWindow(layer_, queries_, rows_, stream); });
    }
    return absl::OkStatus();
  }

 private:
  PlaneKind plane_;
  RowsOut rows_;
};

}  // namespace

std::unique_ptr<StoreCall> MakeTranslate(StoreCore& core, const ReadArguments& arguments) {
  return std::make_unique<TranslateCall>(core, arguments);
}

std::unique_ptr<StoreCall> MakeGather(StoreCore& core, const ReadArguments& arguments) {
  return std::make_unique<GatherCall>(core, arguments);
}

}  // namespace terrace::python
