// terrace_kv._terrace: the extension module. terrace_kv/__init__.py says what of it is public.

#include <nanobind/nanobind.h>

#include "python/src/bind.h"
#include "terrace/version.h"

NB_MODULE(_terrace, module) {
  using namespace terrace::python;  // NOLINT(google-build-using-namespace)
  module.doc() = "Terrace in C++; import terrace_kv instead.";
  module.attr("__version__") = TERRACE_VERSION_TEXT;
  BindModel(module);
  BindCapacity(module);
  BindPrefix(module);
  BindPlan(module);
  BindLedger(module);
  BindStore(module);
  BindMetrics(module);
  BindBound(module);
  BindCache(module);
  BindFormats(module);
  BindReplay(module);
  BindBench(module);
}
