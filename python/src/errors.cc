#include "python/src/errors.h"

namespace terrace::python {
namespace {

const char* ClassOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return "InvalidArgument";
    case absl::StatusCode::kNotFound:
      return "NotFound";
    case absl::StatusCode::kFailedPrecondition:
      return "FailedPrecondition";
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kOutOfRange:  // larger than the memory or the pool
      return "ResourceExhausted";
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kUnknown:
      return "DeviceError";
    default:
      return "TerraceError";
  }
}

}  // namespace

void RaiseError(const char* name, const nb::tuple& arguments, const nb::dict& fields) {
  const nb::object type = nb::module_::import_("terrace_kv._errors").attr(name);
  const nb::object error = type(*arguments, **fields);
  PyErr_SetObject(type.ptr(), error.ptr());
  throw nb::python_error();
}

void Raise(const absl::Status& status) {
  RaiseError(ClassOf(status.code()), nb::make_tuple(std::string(status.message())), nb::dict());
}

}  // namespace terrace::python
