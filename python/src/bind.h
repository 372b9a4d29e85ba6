// The parts of the module, one for each noun. Each adds its classes and functions to `module`;
// module.cc calls them in an order in which every class is known before it is an argument.

#ifndef TERRACE_PYTHON_SRC_BIND_H_
#define TERRACE_PYTHON_SRC_BIND_H_

#include <nanobind/nanobind.h>

namespace terrace::python {

namespace nb = nanobind;
using namespace nb::literals;  // NOLINT(google-build-using-namespace): "name"_a

void BindModel(nb::module_& module);     // model.h, pool_kinds.h
void BindCapacity(nb::module_& module);  // capacity.h, limits.h, geometry.h
void BindPrefix(nb::module_& module);    // prefix.h, chunk_digest.h
void BindMetrics(nb::module_& module);   // metrics.h, of stores and caches too
void BindPlan(nb::module_& module);      // plan.h, step.h
void BindLedger(nb::module_& module);    // ledger.h
void BindStore(nb::module_& module);     // store.h, backend.h, page_view.h
void BindBound(nb::module_& module);     // calls of a store that are bound once
void BindCache(nb::module_& module);     // cache.h
void BindFormats(nb::module_& module);   // formats/: encode, decode, rope tables
void BindReplay(nb::module_& module);    // the program `terrace`, and its replay
void BindBench(nb::module_& module);     // what python/bench compares with

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_BIND_H_
