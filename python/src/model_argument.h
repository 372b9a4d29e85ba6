// A model as an argument: a name, or a ModelSpec.

#ifndef TERRACE_PYTHON_SRC_MODEL_ARGUMENT_H_
#define TERRACE_PYTHON_SRC_MODEL_ARGUMENT_H_

#include <nanobind/nanobind.h>

#include <cstdint>

#include "terrace/model.h"

namespace terrace::python {

// Errors: NotFound for another name; InvalidArgument for another type.
ModelSpec ModelOf(nanobind::handle model);

// Bytes: an int, or text such as "40GiB".   Errors: InvalidArgument.
int64_t BytesOf(nanobind::handle bytes, const char* name);

// Layers: a range of step 1 that is not empty, or None for all.   Errors: InvalidArgument.
LayerRange LayersOf(nanobind::handle layers);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_MODEL_ARGUMENT_H_
