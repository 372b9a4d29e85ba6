#include "python/src/calls.h"

#include <utility>

#include "python/src/bind.h"
#include "python/src/calls_checks.h"
#include "python/src/streams.h"

namespace terrace::python {

nb::object NewTensor(const Place& place, std::initializer_list<int64_t> shape, bool rows) {
  nb::list sizes;
  for (const int64_t size : shape) sizes.append(size);
  if (!place.cuda) {
    return nb::module_::import_("numpy").attr("empty")(sizes, rows ? "uint16" : "int32");
  }
  PyObject* const torch = PyDict_GetItemString(PyImport_GetModuleDict(), "torch");
  if (torch == nullptr) {
    RaiseInvalid("`out` is not given, and PyTorch, which would make it, is not imported");
  }
  return nb::handle(torch).attr("empty")(
      sizes, "dtype"_a = nb::handle(torch).attr(rows ? "bfloat16" : "int32"),
      "device"_a = absl::StrCat("cuda:", place.device));
}

void StoreCall::CheckTensors() const {
  for (const TensorIn& tensor : tensors_) tensor.CheckUnchanged();
}

const TensorIn* StoreCall::FirstTensor() const {
  for (const TensorIn& tensor : tensors_) {
    if (tensor.given()) return &tensor;
  }
  return nullptr;
}

const TensorIn& StoreCall::Add(TensorIn tensor) {
  tensors_.push_back(std::move(tensor));
  return tensors_.back();
}

void RunCall(StoreCore& core, const StoreCall& call, nb::handle stream) {
  const Stream on = StreamOf(stream, core.place, call.FirstTensor());
  const Entered entered(core.lock);
  Check([&] {
    const nb::gil_scoped_release released;
    return call.Run(core, on);
  }());
}

}  // namespace terrace::python
