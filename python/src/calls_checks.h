// What the calls of a store check of their tensors.

#ifndef TERRACE_PYTHON_SRC_CALLS_CHECKS_H_
#define TERRACE_PYTHON_SRC_CALLS_CHECKS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "python/src/errors.h"
#include "python/src/tensors.h"

namespace terrace::python {

// For where no GIL is held.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

inline absl::Status CheckRows(const TensorIn& tensor, int64_t rows, const char* of) {
  if (!tensor.given() || tensor.shape().shape[0] >= rows) return absl::OkStatus();
  return Invalid(tensor.name(), " has ", tensor.shape().shape[0], " rows, the step ", rows, " ",
                 of);
}

inline void CheckWidth(const TensorIn& tensor, int dimension, int64_t width, const char* what) {
  if (width == 0 || tensor.shape().shape[dimension] == width) return;
  RaiseInvalid(tensor.name(), " has ", tensor.shape().shape[dimension], " ", what, ", not ", width);
}

// A new tensor, bf16 rows or int32: NumPy's on the host (bf16 as uint16), PyTorch's on a device.
// Errors: InvalidArgument where PyTorch is not imported.
nb::object NewTensor(const Place& place, std::initializer_list<int64_t> shape, bool rows);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_CALLS_CHECKS_H_
