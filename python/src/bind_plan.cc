#include <nanobind/stl/vector.h>

#include <cstring>
#include <string>
#include <vector>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/structured.h"
#include "terrace/plan.h"
#include "terrace/step.h"

namespace terrace::python {
namespace {

// The buffer protocol: a plan is its bytes, read-only.
int GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  const Plan& plan = *nb::inst_ptr<Plan>(nb::handle(self));
  return PyBuffer_FillInfo(view, self, const_cast<std::byte*>(plan.bytes().data()),
                           static_cast<Py_ssize_t>(plan.bytes().size()), /*readonly=*/1, flags);
}

PyType_Slot kPlanSlots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&GetBuffer)}, {0, nullptr}};

Plan Parse(nb::handle bytes, const Geometry& geometry) {
  Py_buffer view;
  if (PyObject_GetBuffer(bytes.ptr(), &view, PyBUF_CONTIG_RO) != 0) {
    PyErr_Clear();
    RaiseInvalid("a plan is parsed from bytes, not from a ", Py_TYPE(bytes.ptr())->tp_name);
  }
  absl::StatusOr<Plan> plan = [&] {
    const nb::gil_scoped_release released;
    return Plan::Parse({static_cast<const std::byte*>(view.buf), static_cast<size_t>(view.len)},
                       geometry);
  }();
  PyBuffer_Release(&view);
  return Take(std::move(plan));
}

std::vector<int32_t> EntryRows(const Plan& plan) {
  const PlanHeader& header = plan.header();
  return {header.num_entry_rows, header.num_entry_rows + kMaxPools};
}

int64_t NumBytes(const Plan& plan) { return static_cast<int64_t>(plan.bytes().size()); }

// A getter of one of the plan's arrays: a view of the plan's own bytes.
template <typename Record>
auto ArrayGetter(const char* dtype, absl::Span<const Record> (Plan::*records)() const) {
  return [dtype, records](nb::handle self) {
    const Plan& plan = *nb::inst_ptr<Plan>(self);
    const absl::Span<const Record> span = (plan.*records)();
    const int64_t offset = reinterpret_cast<const std::byte*>(span.data()) - plan.bytes().data();
    return ArrayOver(self, dtype, static_cast<int64_t>(span.size()), offset);
  };
}

}  // namespace

void BindPlan(nb::module_& module) {
  nb::class_<Plan>(module, "Plan", nb::type_slots(kPlanSlots),
                   "One step as data: what a ledger decided and a store carries out.\n\n"
                   "It owns its bytes and knows no address: send `bytes(plan)` to other processes\n"
                   "and `Plan.parse` it there. Plans do not change; threads may share one.")
      .def_static("parse", &Parse, "data"_a, "geometry"_a,
                  nb::sig("def parse(data: Buffer | ByteArray, geometry: Geometry) -> Plan"),
                  "The plan in `data`, checked field by field against `geometry`.\n\n"
                  "Raises InvalidArgument that says which field of which record is wrong, and\n"
                  "FailedPrecondition for another deployment's plan. Copies the bytes.")
      .def("__len__", &NumBytes, "Bytes of the plan.")
      .def(
          "__bytes__",
          [](const Plan& plan) {
            return nb::bytes(reinterpret_cast<const char*>(plan.bytes().data()),
                             plan.bytes().size());
          },
          "A copy of the bytes.")
      .def_prop_ro(
          "number", [](const Plan& plan) { return plan.header().number; },
          "1 for a ledger's first plan, then one more each; a snapshot has that of the last step.")
      .def_prop_ro(
          "epoch", [](const Plan& plan) { return plan.header().epoch; },
          "What tells one ledger's plans from another's.")
      .def_prop_ro(
          "generation", [](const Plan& plan) { return plan.header().generation; },
          "1, and one more for each time that the ledger abandoned plans.")
      .def_prop_ro(
          "fingerprint", [](const Plan& plan) { return plan.header().fingerprint; },
          "Of the geometry.")
      .def_prop_ro("is_snapshot", &Plan::is_snapshot,
                   "Whether it rebuilds block tables instead of advancing sequences.")
      .def_prop_ro(
          "num_token_rows", [](const Plan& plan) { return plan.header().num_token_rows; },
          "Rows of token-major inputs: the sum of the sequences' counts.")
      .def_prop_ro("num_entry_rows", &EntryRows,
                   "Entries that close in this step, a number a pool (8 of them); 0 but in full "
                   "pools.")
      .def_prop_ro("sequences", ArrayGetter("SEQUENCE_STEP", &Plan::sequences),
                   nb::sig("def sequences(self) -> Records"),
                   "Each sequence's part, in the order of the rows: dtype SEQUENCE_STEP.")
      .def_prop_ro("checkpoints", ArrayGetter("CHECKPOINT", &Plan::checkpoints),
                   nb::sig("def checkpoints(self) -> Records"),
                   "Overlap rows that are captured: dtype CHECKPOINT.")
      .def_prop_ro("restores", ArrayGetter("RESTORE", &Plan::restores),
                   nb::sig("def restores(self) -> Records"),
                   "Compressor states that are made anew: dtype RESTORE.")
      .def_prop_ro("patches", ArrayGetter("BLOCK_PATCH", &Plan::patches),
                   nb::sig("def patches(self) -> Records"),
                   "New words of the block tables: dtype BLOCK_PATCH.")
      .def_prop_ro("copies", ArrayGetter("BLOCK_COPY", &Plan::copies),
                   nb::sig("def copies(self) -> Records"),
                   "Blocks that are copied before the step writes: dtype BLOCK_COPY.")
      .def("__repr__", [](const Plan& plan) {
        const PlanHeader& header = plan.header();
        return absl::StrCat("<terrace_kv.Plan ", header.number,
                            plan.is_snapshot() ? ", a snapshot" : "", ": ", header.num_sequences,
                            " sequences, ", header.num_token_rows, " rows, ", header.total_bytes,
                            " bytes>");
      });
}

}  // namespace terrace::python
