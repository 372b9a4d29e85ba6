#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>

#include "python/src/ledger_calls.h"
#include "python/src/model_argument.h"
#include "python/src/numbers.h"
#include "python/src/store_read_calls.h"
#include "terrace/cache.h"

namespace terrace::python {
namespace {

// A Cache in Python: its ledger and its store, each with a lock of its own, so that a thread may
// schedule while another works.
struct PyCache {
  std::shared_ptr<Cache> cache;
  std::shared_ptr<LedgerCore> ledger_core;
  std::shared_ptr<StoreCore> store_core;
  LedgerCore& ledger() { return *ledger_core; }
  StoreCore& store() { return *store_core; }
  const std::shared_ptr<StoreCore>& shared_store() { return store_core; }
};

void MakeCache(PyCache* self, nb::handle model, nb::handle memory, const Limits& limits,
               nb::handle backend, int32_t device, int32_t host_threads, nb::handle resource,
               bool nvtx, int32_t in_flight_plans, nb::handle epoch, const PrefixOptions& prefix,
               int32_t prefill_sequences, int32_t checkpoints) {
  auto store = std::make_shared<StoreCore>();
  CacheOptions options = {
      .model = ModelOf(model),
      .memory_bytes = BytesOf(memory, "memory"),
      .limits = limits,
      .backend = BackendArguments{backend, device, host_threads, resource, nvtx}.Options(*store),
      .in_flight_plans = in_flight_plans,
      .epoch = std::nullopt,
      .prefix = prefix,
      .prefill_sequences = prefill_sequences,
      .checkpoints = checkpoints};
  if (!epoch.is_none()) options.epoch = WholeNumber<uint64_t>(epoch, "epoch");
  std::shared_ptr<Cache> cache = Take([&] {
    const nb::gil_scoped_release released;
    return Cache::Create(options);
  }());
  auto ledger = std::make_shared<LedgerCore>();
  ledger->owner = cache;
  ledger->ledger = &cache->ledger();
  ledger->cache = cache.get();
  for (const PoolBudget& pool : cache->capacity().pools) ledger->pool_names.push_back(pool.name);
  store->owner = cache;
  store->store = &cache->store();
  store->cache = cache.get();
  store->model = options.model;
  store->place = PlaceOf(cache->backend(), device);
  new (self) PyCache{std::move(cache), std::move(ledger), std::move(store)};
}

}  // namespace

void BindCache(nb::module_& module) {
  nb::class_<PyCache> cache(
      module, "Cache",
      "One ledger and one store in one process: every call of Ledger and of Store.\n\n"
      "memory covers the pools, block tables and step buffers. Rope tables come on top: 256 bytes "
      "a\n"
      "position for each of the model's ropes that a layer uses, over max_context_tokens "
      "positions.\n\n"
      "With in_flight_plans 0 a step is appended, begun and run before the next is appended: the "
      "calls\n"
      "of layers raise FailedPrecondition while the last plan is not the last that was begun.\n\n"
      "The scheduler's calls and the worker's calls may run in two threads. Two threads in calls "
      "of\n"
      "one side: the second gets RuntimeError, and nothing has changed.");
  cache.def(
      "__init__", &MakeCache, "model"_a, "memory"_a, nb::kw_only(), "limits"_a = Limits(),
      "backend"_a = "auto", "device"_a = 0, "host_threads"_a = 0,
      "memory_resource"_a.none() = nb::none(), "nvtx"_a = false, "in_flight_plans"_a = 0,
      "epoch"_a.none() = nb::none(), "prefix"_a = PrefixOptions(), "prefill_sequences"_a = 0,
      "checkpoints"_a = -1,
      nb::sig("def __init__(self, model: ModelSpec | str, memory: int | str, *, limits: Limits "
              "= ..., backend: BackendName = 'auto', device: int = 0, host_threads: int = 0, "
              "memory_resource: MemoryResource | None = None, nvtx: bool = False, in_flight_plans: "
              "int = 0, epoch: "
              "int | None = None, prefix: PrefixOptions = ..., prefill_sequences: int = 0, "
              "checkpoints: "
              "int = -1) -> None"),
      "memory: bytes, or text such as '40GiB'. The rest is as in Store, Ledger and\n"
      "plan_capacity.\n\n"
      "Raises InvalidArgument, ResourceExhausted, FailedPrecondition for no usable device.");
  AddSequenceCalls(cache);
  AddPlanCalls(cache);
  AddStoreCalls(cache);
  cache.def(
      "metrics",
      [](PyCache& self) {
        const Entered entered(self.ledger().lock);
        const nb::gil_scoped_release released;
        return self.cache->metrics();
      },
      "All that a monitor asks, of both sides; the worker's side may be in another call.");
  cache.def_prop_ro("geometry", [](PyCache& self) { return self.cache->geometry(); })
      .def_prop_ro(
          "capacity", [](PyCache& self) { return self.cache->capacity(); },
          "How the memory was divided.")
      .def_prop_ro("model", [](PyCache& self) { return self.store().model; })
      .def_prop_ro(
          "ledger", [](PyCache& self) { return PyLedger{self.ledger_core}; },
          "The ledger inside; it keeps the cache alive.")
      .def_prop_ro(
          "store", [](PyCache& self) { return PyStore{self.store_core}; },
          "The store inside; it keeps the cache alive.");
}

}  // namespace terrace::python
