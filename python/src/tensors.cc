#include "python/src/tensors.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "python/src/errors.h"

namespace terrace::python {
namespace {

using dlpack::DataType;
using dlpack::ExchangeApi;

// How a buffer's element type reads as one of DLPack's; bits 0: none.
DataType TypeOfBuffer(const Py_buffer& view) {
  const char* format = view.format == nullptr ? "B" : view.format;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == 0 || format[1] != 0) return {};
  const uint8_t bits = static_cast<uint8_t>(8 * view.itemsize);
  if (std::strchr("bhilqn", *format) != nullptr) return {dlpack::kInt, bits, 1};
  if (std::strchr("BHILQN", *format) != nullptr) return {dlpack::kUInt, bits, 1};
  if (std::strchr("efd", *format) != nullptr) return {dlpack::kFloat, bits, 1};
  if (*format == '?') return {dlpack::kBool, bits, 1};
  return {};
}

std::string TypeText(DataType type) {
  const char* const kind = type.code == dlpack::kInt      ? "int"
                           : type.code == dlpack::kUInt   ? "uint"
                           : type.code == dlpack::kFloat  ? "float"
                           : type.code == dlpack::kBfloat ? "bfloat"
                           : type.code == dlpack::kBool   ? "bool"
                                                          : "type ";
  return absl::StrCat(kind, static_cast<int>(type.bits));
}

std::string PlaceText(bool cuda, int32_t device) {
  return cuda ? absl::StrCat("cuda:", device) : std::string("the host");
}

const char* KindOf(nb::handle value) { return Py_TYPE(value.ptr())->tp_name; }

// The exception that is set, as one line; it is cleared.
std::string TakePythonError() {
  nb::python_error error;
  return nb::cast<std::string>(nb::str(error.value()));
}

// Arrays of types that NumPy knows from ml_dtypes alone, and the integers that they are viewed as.
const char* IntegersOf(nb::handle array) {
  const nb::object dtype = nb::getattr(array, "dtype", nb::none());
  const nb::object name = nb::getattr(dtype, "name", nb::none());
  if (!PyUnicode_Check(name.ptr()) || !nb::hasattr(array, "view")) return nullptr;
  const std::string text = nb::cast<std::string>(name);
  if (text == "bfloat16") return "uint16";
  if (text.rfind("float8_", 0) == 0) return "uint8";
  return nullptr;
}

}  // namespace

bool operator==(const TensorShape& a, const TensorShape& b) {
  return a.data == b.data && a.ndim == b.ndim && a.dtype == b.dtype &&
         std::equal(a.shape, a.shape + a.ndim, b.shape) &&
         std::equal(a.strides, a.strides + a.ndim, b.strides);
}

const ExchangeApi* ExchangeApiOf(nb::handle tensor) {
  // Few types come in; each is kept, so that its address stays its own.
  static std::vector<std::pair<PyTypeObject*, const ExchangeApi*>>* const known =
      new std::vector<std::pair<PyTypeObject*, const ExchangeApi*>>();
  PyTypeObject* const type = Py_TYPE(tensor.ptr());
  for (const auto& [seen, api] : *known) {
    if (seen == type) return api;
  }
  const ExchangeApi* api = nullptr;
  const nb::object capsule = nb::getattr(nb::handle(reinterpret_cast<PyObject*>(type)),
                                         "__dlpack_c_exchange_api__", nb::none());
  if (PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) {
    api =
        static_cast<const ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    while (api != nullptr && api->version.major != 1) api = api->previous;
    if (api != nullptr && api->tensor_from_object == nullptr) api = nullptr;
  }
  Py_INCREF(type);
  known->emplace_back(type, api);
  return api;
}

TensorIn::TensorIn(nb::handle value, const char* name, const Place& place, bool written)
    : name_(name), place_(place), written_(written) {
  if (value.is_none()) return;
  source_ = nb::borrow(value);
  viewed_ = source_;
  Look();
  const int32_t type = shape_.device.type;
  const bool reaches = type == dlpack::kCudaManaged || type == dlpack::kCudaHost ||
                       (place.cuda ? type == dlpack::kCuda && shape_.device.id == place.device
                                   : type == dlpack::kCpu);
  if (!reaches) {
    RaiseInvalid(name_, " lies on ",
                 type == dlpack::kCuda || type == dlpack::kCpu
                     ? PlaceText(type == dlpack::kCuda, shape_.device.id)
                     : absl::StrCat("a device of DLPack's type ", type),
                 ", the store on ", PlaceText(place.cuda, place.device),
                 ": move the tensor, nothing is copied here");
  }
}

TensorIn::TensorIn(TensorIn&& other) noexcept { *this = std::move(other); }

TensorIn& TensorIn::operator=(TensorIn&& other) noexcept {
  if (this == &other) return *this;
  Release();
  name_ = other.name_;
  place_ = other.place_;
  written_ = other.written_;
  way_ = std::exchange(other.way_, Way::kNone);
  source_ = std::move(other.source_);
  viewed_ = std::move(other.viewed_);
  capsule_ = std::move(other.capsule_);
  api_ = other.api_;
  view_ = other.view_;
  shape_ = other.shape_;
  return *this;
}

void TensorIn::Release() {
  if (way_ == Way::kBuffer) PyBuffer_Release(&view_);
  way_ = Way::kNone;
}

void TensorIn::Look() {
  api_ = ExchangeApiOf(viewed_);
  if (api_ != nullptr) {
    LookByTable();
  } else if (!LookByBuffer()) {
    LookByCapsule();
  }
}

bool TensorIn::LookByBuffer() {
  if (!PyObject_CheckBuffer(viewed_.ptr())) return false;
  const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (written_ ? PyBUF_WRITABLE : 0);
  if (PyObject_GetBuffer(viewed_.ptr(), &view_, flags) != 0) {
    const std::string why = TakePythonError();
    if (const char* integers = IntegersOf(viewed_); integers != nullptr && viewed_.is(source_)) {
      viewed_ = source_.attr("view")(integers);
      return LookByBuffer();
    }
    if (nb::hasattr(viewed_, "__dlpack__") && !written_) return false;
    RaiseInvalid(name_, " cannot be shared: ", why);
  }
  way_ = Way::kBuffer;
  if (view_.ndim > kMaxDimensions) RaiseInvalid(name_, " has ", view_.ndim, " dimensions");
  shape_.dtype = TypeOfBuffer(view_);
  if (shape_.dtype.bits == 0) {
    RaiseInvalid(name_, " has elements of type '", view_.format == nullptr ? "" : view_.format,
                 "', which are no numbers that a store takes");
  }
  shape_.data = view_.buf;
  shape_.ndim = view_.ndim;
  shape_.device = {dlpack::kCpu, 0};
  for (int i = 0; i < view_.ndim; ++i) {
    shape_.shape[i] = view_.shape[i];
    if (view_.strides[i] % view_.itemsize != 0) {
      RaiseInvalid(name_, " has a stride of ", view_.strides[i], " bytes, no whole elements");
    }
    shape_.strides[i] = view_.strides[i] / view_.itemsize;
  }
  return true;
}

namespace {

void Fill(const dlpack::Tensor& from, const char* name, TensorShape* to) {
  if (from.ndim > kMaxDimensions) RaiseInvalid(name, " has ", from.ndim, " dimensions");
  if (from.dtype.lanes != 1) RaiseInvalid(name, " has elements of ", from.dtype.lanes, " lanes");
  to->data = static_cast<char*>(from.data) + (from.data == nullptr ? 0 : from.byte_offset);
  to->ndim = from.ndim;
  to->dtype = from.dtype;
  to->device = from.device;
  int64_t dense = 1;
  for (int i = from.ndim - 1; i >= 0; --i) {
    to->shape[i] = from.shape[i];
    to->strides[i] = from.strides == nullptr ? dense : from.strides[i];
    dense *= from.shape[i];
  }
}

}  // namespace

void TensorIn::LookByTable() {
  dlpack::Tensor tensor;
  if (api_->tensor_from_object(viewed_.ptr(), &tensor) != 0) {
    RaiseInvalid(name_, " cannot be shared: ", TakePythonError());
  }
  way_ = Way::kTable;
  Fill(tensor, name_, &shape_);
}

void TensorIn::LookByCapsule() {
  if (!nb::hasattr(viewed_, "__dlpack__")) {
    RaiseInvalid(name_, " is a ", KindOf(source_),
                 ", no tensor: neither the buffer protocol nor DLPack shows it");
  }
  nb::dict arguments;
  arguments["max_version"] = nb::make_tuple(1, 1);
  // CuPy's work is ordered by its current stream, where the call goes too; others wait for theirs.
  if (place_.cuda && std::strncmp(KindOf(source_), "cupy", 4) == 0) {
    arguments["stream"] = nb::int_(-1);
  }
  const nb::object method = viewed_.attr("__dlpack__");
  nb::object capsule =
      nb::steal(PyObject_VectorcallDict(method.ptr(), nullptr, 0, arguments.ptr()));
  if (!capsule.is_valid() && PyErr_ExceptionMatches(PyExc_TypeError)) {  // before DLPack 1.0
    PyErr_Clear();
    capsule = nb::steal(PyObject_CallNoArgs(method.ptr()));
  }
  if (!capsule.is_valid()) RaiseInvalid(name_, " cannot be shared: ", TakePythonError());
  uint64_t flags = 0;
  const dlpack::Tensor* tensor = nullptr;
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned")) {
    const auto* managed = static_cast<const dlpack::ManagedTensorVersioned*>(
        PyCapsule_GetPointer(capsule.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1) {
      RaiseInvalid(name_, " is shared by DLPack ", managed->version.major, ", not 1");
    }
    flags = managed->flags;
    tensor = &managed->tensor;
  } else if (PyCapsule_IsValid(capsule.ptr(), "dltensor")) {
    tensor =
        &static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"))
             ->tensor;
  } else {
    RaiseInvalid(name_, ": __dlpack__ of ", KindOf(source_), " gave no DLPack capsule");
  }
  if ((flags & dlpack::kIsCopied) != 0) {
    RaiseInvalid(name_, " can be shared by a copy only; make one yourself");
  }
  if (written_ && (flags & dlpack::kReadOnly) != 0) RaiseInvalid(name_, " is read-only");
  way_ = Way::kCapsule;
  Fill(*tensor, name_, &shape_);
  capsule_ = std::move(capsule);  // nobody took the tensor out, so it goes with the capsule
}

std::string TensorIn::Describe() const {
  std::string text = absl::StrCat(TypeText(shape_.dtype), " [");
  for (int i = 0; i < shape_.ndim; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", shape_.shape[i]);
  return text + "]";
}

void TensorIn::CheckDimensions(int ndim) const {
  if (shape_.ndim == ndim) return;
  RaiseInvalid(name_, " is ", Describe(), "; it takes ", ndim, " dimensions");
}

void TensorIn::CheckType(DataType type, const char* says) const {
  if (shape_.dtype == type) return;
  RaiseInvalid(name_, " is ", Describe(), "; its elements must be ", says);
}

bool TensorIn::IsBf16() const {
  return shape_.dtype == DataType{dlpack::kBfloat, 16, 1} ||
         shape_.dtype == DataType{dlpack::kUInt, 16, 1};
}

void TensorIn::CheckBf16() const {
  if (IsBf16()) return;
  RaiseInvalid(name_, " is ", Describe(), "; its elements must be bf16, or bf16's bits as uint16");
}

void TensorIn::CheckDenseRows() const {
  const int last = shape_.ndim - 1;
  if (last < 0 || shape_.shape[last] <= 1 || shape_.strides[last] == 1) return;
  RaiseInvalid(name_, " is ", Describe(), " with ", shape_.strides[last],
               " elements between two of its last dimension; they must lie side by side");
}

void TensorIn::CheckDense() const {
  int64_t dense = 1;
  for (int i = shape_.ndim - 1; i >= 0; --i) {
    if (shape_.shape[i] > 1 && shape_.strides[i] != dense) {
      RaiseInvalid(name_, " is ", Describe(), " and not contiguous");
    }
    dense *= shape_.shape[i];
  }
}

int64_t TensorIn::Pitch(int dimension, int64_t dense) const {
  if (shape_.shape[dimension] <= 1) return dense;
  const int64_t pitch = shape_.strides[dimension];
  if (pitch < 1) {
    RaiseInvalid(name_, " has ", pitch, " elements between two of dimension ", dimension);
  }
  return pitch;
}

void TensorIn::CheckUnchanged() const {
  if (way_ == Way::kNone) return;
  // A capsule keeps its memory, whatever becomes of the array. But PyTorch's keeps the tensor,
  // whose memory may be replaced.
  const bool may_move = way_ != Way::kCapsule || nb::hasattr(source_, "resize_");
  if (!may_move) return;
  TensorIn now;
  now.name_ = name_;
  now.place_ = place_;
  now.written_ = written_;
  now.source_ = source_;
  now.viewed_ = viewed_;
  now.Look();
  if (now.shape_ == shape_) return;
  Raise(absl::FailedPreconditionError(
      absl::StrCat(name_, " was resized or moved since the call was bound; bind it again")));
}

}  // namespace terrace::python
