// Streams as Python gives them: an int, a framework's object, or none.

#ifndef TERRACE_PYTHON_SRC_STREAMS_H_
#define TERRACE_PYTHON_SRC_STREAMS_H_

#include <nanobind/nanobind.h>

#include "python/src/tensors.h"
#include "terrace/backend.h"

namespace terrace::python {

namespace nb = nanobind;

// `value`: a cudaStream_t as an int, or an object with __cuda_stream__ (CUDA Python), cuda_stream
// (PyTorch) or ptr (CuPy). None: the current stream of the framework that `tensor` comes from, or
// of PyTorch if it is imported, else the default stream. On the host it does not matter.
// Errors: InvalidArgument for anything else.
Stream StreamOf(nb::handle value, const Place& place, const TensorIn* tensor);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_STREAMS_H_
