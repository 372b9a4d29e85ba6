// NumPy arrays of records: what a step gives back for many sequences at once.

#ifndef TERRACE_PYTHON_SRC_STRUCTURED_H_
#define TERRACE_PYTHON_SRC_STRUCTURED_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/types/span.h"

namespace terrace::python {

namespace nb = nanobind;

// A new array of `count` records of the dtype `name` of terrace_kv._dtypes, a copy of `records`.
// REQUIRES: the dtype's itemsize is `item_bytes` (checked).
nb::object NewArray(const char* name, const void* records, int64_t count, int64_t item_bytes);

template <typename Record>
nb::object NewArray(const char* name, absl::Span<const Record> records) {
  static_assert(std::is_trivially_copyable_v<Record>);
  return NewArray(name, records.data(), static_cast<int64_t>(records.size()), sizeof(Record));
}

// An array over `count` records at byte `offset` of what `owner` shows by the buffer protocol. It
// keeps `owner`.
nb::object ArrayOver(nb::handle owner, const char* name, int64_t count, int64_t offset);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_STRUCTURED_H_
