// The C++ side of python/bench: the same calls on the same objects, in a loop without Python.

#include <chrono>
#include <cstdint>
#include <vector>

#include "python/src/bind.h"
#include "python/src/calls.h"
#include "python/src/ledger_core.h"
#include "python/src/numbers.h"
#include "python/src/streams.h"

namespace terrace::python {
namespace {

template <typename Call>
double NsEach(int64_t count, const Call& call) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < count; ++i) Check(call());
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
  return spent.count() / static_cast<double>(count);
}

// A decode step: one token for each sequence, and its id.
double DecodeNs(PyLedger& self, nb::handle ids, int64_t count) {
  const Numbers<uint64_t> sequences(ids, "ids");
  LedgerCore& core = self.ledger();
  const Entered entered(core.lock);
  const int32_t token = 7;
  return NsEach(count, [&]() -> absl::Status {
    std::vector<StepRequest> batch(sequences.size());
    for (int64_t i = 0; i < sequences.size(); ++i) batch[i] = {IdOf(sequences[i]), 1, 0};
    const absl::StatusOr<Plan> plan = core.ledger->Append(batch);
    if (!plan.ok()) return plan.status();
    for (const StepRequest& request : batch) {
      absl::Status status = core.ledger->Commit(request.id, absl::MakeConstSpan(&token, 1));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
}

// A bound call, without its checks of tensors.
double BoundNs(PyBoundCall& self, int64_t count, nb::handle stream) {
  const Stream on = StreamOf(stream, self.core->place, self.call->FirstTensor());
  const Entered entered(self.core->lock);
  return NsEach(count, [&] { return self.call->Run(*self.core, on); });
}

}  // namespace

void BindBench(nb::module_& module) {
  module.def("bench_decode_ns", &DecodeNs, "ledger"_a, "ids"_a, "count"_a,
             nb::sig("def bench_decode_ns(ledger: Ledger, ids: Ids, count: int) -> float"),
             "Nanoseconds of a decode step in C++: append and a commit for each of `ids`.");
  module.def(
      "bench_bound_ns", &BoundNs, "call"_a, "count"_a, "stream"_a.none() = nb::none(),
      nb::sig("def bench_bound_ns(call: BoundCall, count: int, stream: Stream = None) -> float"),
      "Nanoseconds of a bound call's C++ call.");
}

}  // namespace terrace::python
