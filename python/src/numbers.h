// Whole numbers as Python gives them: an int, a list or an array on the host.

#ifndef TERRACE_PYTHON_SRC_NUMBERS_H_
#define TERRACE_PYTHON_SRC_NUMBERS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace terrace::python {

namespace nb = nanobind;

// One number, or a list of them. An array of the very type is borrowed; what else holds whole
// numbers is converted, and a number that does not fit is an error.
//
// Takes: int; list, tuple or another sequence of ints; one-dimensional arrays of integers by the
// buffer protocol, or by __array__ (PyTorch on the CPU).
// Errors: InvalidArgument that names the argument.
// T: int32_t, int64_t or uint64_t (which takes int64 arrays as they are: handles of sequences).
template <typename T>
class Numbers {
 public:
  Numbers(nb::handle value, const char* name);
  ~Numbers();
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;

  bool is_one() const { return is_one_; }  // an int was given
  int64_t size() const { return size_; }
  T operator[](int64_t i) const { return data_[i]; }
  absl::Span<const T> span() const { return {data_, static_cast<size_t>(size_)}; }
  // Of a list: its number i; else the one number.
  T at(int64_t i) const { return is_one_ ? data_[0] : data_[i]; }

  // Errors: InvalidArgument for a list of another length. One number always fits.
  void CheckLength(int64_t length, const char* of) const;

 private:
  void ReadSequence(nb::handle value);
  void ReadBuffer(nb::handle value);

  const char* name_;
  bool is_one_ = false;
  bool has_view_ = false;
  Py_buffer view_;
  T one_ = 0;
  std::vector<T> own_;
  const T* data_ = nullptr;
  int64_t size_ = 0;
};

// A whole number that fits. Errors: InvalidArgument that names the argument.
template <typename T>
T WholeNumber(nb::handle value, const char* name);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_NUMBERS_H_
