// PyMemoryResource takes a backend's memory from a Python object: an engine's own pool.

#ifndef TERRACE_PYTHON_SRC_MEMORY_RESOURCE_H_
#define TERRACE_PYTHON_SRC_MEMORY_RESOURCE_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <utility>

#include "terrace/backend.h"

namespace terrace::python {

namespace nb = nanobind;

// The object has allocate(bytes, alignment, stream) -> int, an address or 0, and
// deallocate(address, bytes, stream). What it raises is reported and counts as no memory.
// Thread-safe: takes the GIL for each call.
class PyMemoryResource : public MemoryResource {
 public:
  explicit PyMemoryResource(nb::object resource) : resource_(std::move(resource)) {}

  void* Allocate(int64_t bytes, int64_t alignment, Stream stream) override {
    const nb::gil_scoped_acquire acquired;
    try {
      const nb::object address =
          resource_.attr("allocate")(bytes, alignment, reinterpret_cast<uintptr_t>(stream.handle));
      if (address.is_none()) return nullptr;
      return reinterpret_cast<void*>(nb::cast<uintptr_t>(address));
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("allocate of a memory resource");
    } catch (const std::exception&) {  // no address
    }
    return nullptr;
  }

  void Deallocate(void* memory, int64_t bytes, Stream stream) override {
    const nb::gil_scoped_acquire acquired;
    try {
      resource_.attr("deallocate")(reinterpret_cast<uintptr_t>(memory), bytes,
                                   reinterpret_cast<uintptr_t>(stream.handle));
    } catch (nb::python_error& error) {
      error.discard_as_unraisable("deallocate of a memory resource");
    }
  }

 private:
  nb::object resource_;
};

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_MEMORY_RESOURCE_H_
