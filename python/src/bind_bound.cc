// How a bound call is called. It goes around the general argument parser: a step makes hundreds.

#include "python/src/bind.h"
#include "python/src/calls.h"

namespace terrace::python {

void BindBound(nb::module_& module) {
  nb::object type = module.attr("BoundCall");
  nb::class_<PyBoundCall> bound = nb::borrow<nb::class_<PyBoundCall>>(type);
  bound
      .def(
          "__call__",
          [](PyBoundCall& self, nb::handle stream) {
            self.call->CheckTensors();
            RunCall(*self.core, *self.call, stream);
            return self.call->out;
          },
          "stream"_a.none() = nb::none(),
          nb::sig("def __call__(self, stream: Stream = None) -> Any"),
          "Enqueues the call for the current step and gives the tensor that it fills, if any.\n\n"
          "Raises FailedPrecondition for a tensor that was resized or moved since, "
          "InvalidArgument\n"
          "for one that is too small for the step. Releases the GIL.")
      .def_prop_ro(
          "out", [](PyBoundCall& self) { return self.call->out; }, nb::sig("def out(self) -> Any"),
          "The tensor that it fills, or None.");
}

}  // namespace terrace::python
