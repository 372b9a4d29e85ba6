#include "python/src/streams.h"

#include <cstdint>

#include "python/src/errors.h"
#include "python/src/numbers.h"

namespace terrace::python {
namespace {

Stream FromHandle(nb::handle value) {
  const uint64_t handle = WholeNumber<uint64_t>(value, "stream");
  return Stream(reinterpret_cast<void*>(static_cast<uintptr_t>(handle)));
}

// The module if somebody imported it.
nb::object Imported(const char* name) {
  PyObject* const module = PyDict_GetItemString(PyImport_GetModuleDict(), name);
  return module == nullptr ? nb::object() : nb::borrow(module);
}

bool ComesFrom(const TensorIn* tensor, const char* package) {
  if (tensor == nullptr || !tensor->given()) return false;
  const nb::object module =
      nb::getattr(nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(tensor->source().ptr()))),
                  "__module__", nb::none());
  if (!PyUnicode_Check(module.ptr())) return false;
  return nb::cast<std::string>(module).rfind(package, 0) == 0;
}

Stream CurrentStream(const Place& place, const TensorIn* tensor) {
  if (tensor != nullptr && tensor->given() && tensor->api() != nullptr) {
    void* stream = nullptr;
    if (tensor->api()->current_stream(dlpack::kCuda, place.device, &stream) != 0) {
      throw nb::python_error();
    }
    return Stream(stream);
  }
  if (ComesFrom(tensor, "cupy")) {
    return FromHandle(Imported("cupy").attr("cuda").attr("get_current_stream")().attr("ptr"));
  }
  const nb::object torch = Imported("torch");
  if (!torch.is_valid() || !nb::hasattr(torch, "cuda")) return Stream();
  return FromHandle(torch.attr("cuda").attr("current_stream")(place.device).attr("cuda_stream"));
}

}  // namespace

Stream StreamOf(nb::handle value, const Place& place, const TensorIn* tensor) {
  if (value.is_none()) return place.cuda ? CurrentStream(place, tensor) : Stream();
  if (PyLong_Check(value.ptr())) return FromHandle(value);
  if (nb::hasattr(value, "__cuda_stream__")) {
    const nb::object answer = value.attr("__cuda_stream__")();
    return FromHandle(answer[1]);  // (version of the protocol, handle)
  }
  for (const char* name : {"cuda_stream", "ptr"}) {
    if (nb::hasattr(value, name)) return FromHandle(value.attr(name));
  }
  RaiseInvalid("stream is a ", Py_TYPE(value.ptr())->tp_name,
               ", neither a handle nor a framework's stream");
}

}  // namespace terrace::python
