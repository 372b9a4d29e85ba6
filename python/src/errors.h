// From absl::Status to Python's exceptions (terrace_kv/_errors.py).

#ifndef TERRACE_PYTHON_SRC_ERRORS_H_
#define TERRACE_PYTHON_SRC_ERRORS_H_

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace terrace::python {

namespace nb = nanobind;

// Raises what `status` stands for.   REQUIRES: it is not OK, and the GIL is held.
[[noreturn]] void Raise(const absl::Status& status);

// An exception of class `name` of terrace_kv._errors with these arguments.
[[noreturn]] void RaiseError(const char* name, const nb::tuple& arguments, const nb::dict& fields);

inline void Check(const absl::Status& status) {
  if (!status.ok()) Raise(status);
}

template <typename T>
T Take(absl::StatusOr<T> value) {
  if (!value.ok()) Raise(value.status());
  return *std::move(value);
}

// InvalidArgument with parts joined into one line.
template <typename... Parts>
[[noreturn]] void RaiseInvalid(const Parts&... parts) {
  Raise(absl::InvalidArgumentError(absl::StrCat(parts...)));
}

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_ERRORS_H_
