// What tokens mean beside their ids, as Python gives it: a list of (begin, end, key).

#ifndef TERRACE_PYTHON_SRC_KEY_RANGES_H_
#define TERRACE_PYTHON_SRC_KEY_RANGES_H_

#include <nanobind/nanobind.h>

#include <deque>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "python/src/errors.h"
#include "python/src/numbers.h"
#include "terrace/chunk_digest.h"

namespace terrace::python {

namespace nb = nanobind;

// The bytes of a salt or key: str as UTF-8, or bytes.   Errors: InvalidArgument.
inline std::string KeyBytes(nb::handle key, const char* name) {
  if (PyUnicode_Check(key.ptr())) return nb::cast<std::string>(key);
  if (PyBytes_Check(key.ptr())) {
    return {PyBytes_AS_STRING(key.ptr()), static_cast<size_t>(PyBytes_GET_SIZE(key.ptr()))};
  }
  RaiseInvalid(name, " is a ", Py_TYPE(key.ptr())->tp_name, ", neither bytes nor str");
}

// Ranges, and copies of their keys. An end of None is none.   Errors: InvalidArgument.
class KeyRanges {
 public:
  explicit KeyRanges(nb::handle ranges) {
    if (!PySequence_Check(ranges.ptr())) RaiseInvalid("key_ranges is no list");
    for (const nb::handle range : nb::borrow<nb::sequence>(ranges)) {
      if (!PySequence_Check(range.ptr()) || nb::len(range) != 3) {
        RaiseInvalid("a key range is not (begin, end, key)");
      }
      const nb::object end = range[1];
      keys_.push_back(KeyBytes(range[2], "the key of a range"));
      ranges_.push_back({.begin = WholeNumber<int32_t>(range[0], "the begin of a key range"),
                         .end = end.is_none() ? KeyRange::kNoEnd
                                              : WholeNumber<int32_t>(end, "the end of a key range"),
                         .key = keys_.back()});
    }
  }

  absl::Span<const KeyRange> span() const { return ranges_; }

 private:
  std::deque<std::string> keys_;  // which never move
  std::vector<KeyRange> ranges_;
};

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_KEY_RANGES_H_
