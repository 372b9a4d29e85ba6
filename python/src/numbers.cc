#include "python/src/numbers.h"

#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "python/src/errors.h"

namespace terrace::python {
namespace {

std::string TypeName(nb::handle value) { return Py_TYPE(value.ptr())->tp_name; }

// Copies `count` integers of type From.
template <typename From, typename T>
void Convert(const char* bytes, int64_t stride, int64_t count, const char* name,
             std::vector<T>* to) {
  to->resize(count);
  for (int64_t i = 0; i < count; ++i) {
    From number;
    std::memcpy(&number, bytes + i * stride, sizeof(number));
    if constexpr (!(std::is_same_v<T, uint64_t> && std::is_same_v<From, int64_t>)) {
      if (!std::in_range<T>(number)) {
        RaiseInvalid(name, "[", i, "] is ", number, ", beyond ", 8 * sizeof(T), " bits");
      }
    }
    (*to)[i] = static_cast<T>(number);
  }
}

// The letter of a buffer's element type, or 0.
char Letter(const Py_buffer& view) {
  const char* format = view.format == nullptr ? "B" : view.format;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  return format[0] != 0 && format[1] == 0 ? format[0] : 0;
}

bool IsUnsigned(char letter) { return std::strchr("BHILQN", letter) != nullptr; }
bool IsSigned(char letter) { return std::strchr("bhilqn", letter) != nullptr; }

}  // namespace

template <typename T>
T WholeNumber(nb::handle value, const char* name) {
  const nb::object index = nb::steal(PyNumber_Index(value.ptr()));
  if (!index.is_valid()) {
    PyErr_Clear();
    RaiseInvalid(name, " is a ", TypeName(value), ", not a whole number");
  }
  if constexpr (std::is_same_v<T, uint64_t>) {
    const unsigned long long number = PyLong_AsUnsignedLongLong(index.ptr());
    if (!PyErr_Occurred()) return number;
  } else {
    const long long number = PyLong_AsLongLong(index.ptr());
    if (!PyErr_Occurred() && std::in_range<T>(number)) return static_cast<T>(number);
  }
  PyErr_Clear();
  RaiseInvalid(name, " is ", nb::cast<std::string>(nb::str(index)), ", beyond what it can be");
}

template <typename T>
Numbers<T>::Numbers(nb::handle value, const char* name) : name_(name) {
  if (PyLong_CheckExact(value.ptr())) {
    one_ = WholeNumber<T>(value, name);
    is_one_ = true;
    data_ = &one_;
    size_ = 1;
    return;
  }
  if (PyList_Check(value.ptr()) || PyTuple_Check(value.ptr())) {
    ReadSequence(value);
  } else if (PyObject_CheckBuffer(value.ptr())) {
    ReadBuffer(value);
  } else if (nb::hasattr(value, "__array__")) {
    own_.clear();
    const nb::object array = nb::module_::import_("numpy").attr("asarray")(value);
    ReadBuffer(array);  // the buffer keeps the array
  } else if (PyIndex_Check(value.ptr())) {
    one_ = WholeNumber<T>(value, name);
    is_one_ = true;
    data_ = &one_;
    size_ = 1;
  } else if (PySequence_Check(value.ptr()) && !PyUnicode_Check(value.ptr())) {
    ReadSequence(value);
  } else {
    RaiseInvalid(name, " is a ", TypeName(value), ", not whole numbers");
  }
}

template <typename T>
Numbers<T>::~Numbers() {
  if (has_view_) PyBuffer_Release(&view_);
}

template <typename T>
void Numbers<T>::ReadSequence(nb::handle value) {
  const nb::object fast = nb::steal(PySequence_Fast(value.ptr(), "not a sequence"));
  if (!fast.is_valid()) throw nb::python_error();
  size_ = PySequence_Fast_GET_SIZE(fast.ptr());
  own_.resize(size_);
  PyObject** const items = PySequence_Fast_ITEMS(fast.ptr());
  for (int64_t i = 0; i < size_; ++i) {
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (PyLong_CheckExact(items[i])) {
        own_[i] = PyLong_AsUnsignedLongLong(items[i]);
        if (own_[i] != ~uint64_t{0} || !PyErr_Occurred()) continue;
        PyErr_Clear();
      }
    } else {
      int overflow = 0;
      if (PyLong_CheckExact(items[i])) {
        const long long number = PyLong_AsLongLongAndOverflow(items[i], &overflow);
        if (overflow == 0 && std::in_range<T>(number)) {
          own_[i] = static_cast<T>(number);
          continue;
        }
      }
    }
    own_[i] = WholeNumber<T>(items[i], absl::StrCat(name_, "[", i, "]").c_str());
  }
  data_ = own_.data();
}

template <typename T>
void Numbers<T>::ReadBuffer(nb::handle value) {
  if (PyObject_GetBuffer(value.ptr(), &view_, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    throw nb::python_error();
  }
  has_view_ = true;
  const char letter = Letter(view_);
  const bool is_unsigned = letter != 0 && IsUnsigned(letter);
  if (!is_unsigned && !(letter != 0 && IsSigned(letter))) {
    RaiseInvalid(name_, " has elements of type '", view_.format == nullptr ? "B" : view_.format,
                 "', not integers");
  }
  if (view_.ndim > 1) RaiseInvalid(name_, " has ", view_.ndim, " dimensions, not one");
  size_ = view_.ndim == 0 ? 1 : view_.shape[0];
  is_one_ = view_.ndim == 0;
  const int64_t stride = view_.ndim == 0 ? view_.itemsize : view_.strides[0];
  const char* const bytes = static_cast<const char*>(view_.buf);
  const bool same_type = view_.itemsize == static_cast<Py_ssize_t>(sizeof(T)) &&
                         (is_unsigned == std::is_unsigned_v<T> || std::is_same_v<T, uint64_t>);
  if (same_type && (stride == view_.itemsize || size_ <= 1) &&
      reinterpret_cast<uintptr_t>(bytes) % sizeof(T) == 0) {
    data_ = reinterpret_cast<const T*>(bytes);
    return;
  }
  switch (view_.itemsize * (is_unsigned ? 1 : -1)) {
    case 1:
      Convert<uint8_t>(bytes, stride, size_, name_, &own_);
      break;
    case -1:
      Convert<int8_t>(bytes, stride, size_, name_, &own_);
      break;
    case 2:
      Convert<uint16_t>(bytes, stride, size_, name_, &own_);
      break;
    case -2:
      Convert<int16_t>(bytes, stride, size_, name_, &own_);
      break;
    case 4:
      Convert<uint32_t>(bytes, stride, size_, name_, &own_);
      break;
    case -4:
      Convert<int32_t>(bytes, stride, size_, name_, &own_);
      break;
    case 8:
      Convert<uint64_t>(bytes, stride, size_, name_, &own_);
      break;
    default:
      Convert<int64_t>(bytes, stride, size_, name_, &own_);
  }
  data_ = own_.data();
}

template <typename T>
void Numbers<T>::CheckLength(int64_t length, const char* of) const {
  if (is_one_ || size_ == length) return;
  RaiseInvalid(name_, " has ", size_, " numbers for ", length, " ", of);
}

template class Numbers<int32_t>;
template class Numbers<int64_t>;
template class Numbers<uint64_t>;
template int32_t WholeNumber(nb::handle, const char*);
template int64_t WholeNumber(nb::handle, const char*);
template uint64_t WholeNumber(nb::handle, const char*);

}  // namespace terrace::python
