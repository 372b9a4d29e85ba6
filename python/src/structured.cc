#include "python/src/structured.h"

#include "python/src/errors.h"

namespace terrace::python {
namespace {

nb::object DtypeOf(const char* name) {
  return nb::module_::import_("terrace_kv._dtypes").attr(name);
}

}  // namespace

nb::object NewArray(const char* name, const void* records, int64_t count, int64_t item_bytes) {
  const nb::object dtype = DtypeOf(name);
  const nb::object array = nb::module_::import_("numpy").attr("empty")(count, dtype);
  if (count == 0) return array;
  // Bytes: the buffer of a structured array has a format of its own.
  Py_buffer view;
  if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_CONTIG) != 0) throw nb::python_error();
  const bool fits = view.len == count * item_bytes;
  if (fits) std::memcpy(view.buf, records, view.len);
  PyBuffer_Release(&view);
  if (!fits) RaiseInvalid("records of ", item_bytes, " bytes are not of dtype ", name);
  return array;
}

nb::object ArrayOver(nb::handle owner, const char* name, int64_t count, int64_t offset) {
  const nb::object numpy = nb::module_::import_("numpy");
  if (count == 0) return numpy.attr("empty")(0, DtypeOf(name));  // frombuffer takes no empty ones
  return numpy.attr("frombuffer")(owner, DtypeOf(name), count, offset);
}

}  // namespace terrace::python
