#include <nanobind/stl/shared_ptr.h>

#include <memory>
#include <string>
#include <utility>

#include "python/src/ledger_calls.h"
#include "python/src/numbers.h"
#include "python/src/words.h"
#include "terrace/capacity.h"

namespace terrace::python {
namespace {

void MakeLedger(PyLedger* self, nb::handle deployment, nb::handle epoch, int32_t in_flight_plans,
                const PrefixOptions& prefix) {
  auto core = std::make_shared<LedgerCore>();
  LedgerOptions options;
  if (!epoch.is_none()) options.epoch = WholeNumber<uint64_t>(epoch, "epoch");
  options.in_flight_plans = in_flight_plans;
  options.prefix = prefix;
  if (nb::isinstance<CapacityPlan>(deployment)) {
    const auto& capacity = nb::cast<const CapacityPlan&>(deployment);
    options.geometry = capacity.geometry;
    for (const PoolBudget& pool : capacity.pools) core->pool_names.push_back(pool.name);
  } else if (nb::isinstance<Geometry>(deployment)) {
    options.geometry = nb::cast<const Geometry&>(deployment);
  } else {
    RaiseInvalid("a ledger is made from a CapacityPlan or a Geometry, not from a ",
                 Py_TYPE(deployment.ptr())->tp_name);
  }
  std::shared_ptr<Ledger> ledger = Take([&] {
    const nb::gil_scoped_release released;
    return Ledger::Create(options);
  }());
  core->ledger = ledger.get();
  core->owner = std::move(ledger);
  new (self) PyLedger{std::move(core)};
}

void BindRecords(nb::module_& module) {
  nb::class_<PyAdmission>(module, "Admission", "A new sequence, and where to go on.")
      .def_ro("id", &PyAdmission::id, "The handle: a plain int, also in arrays of uint64.")
      .def_ro("length", &PyAdmission::length,
              "Feed tokens from this position on: match.resumed + match.skipped.")
      .def_ro("match", &PyAdmission::match)
      .def("__repr__", [](const PyAdmission& a) {
        return absl::StrCat("Admission(id=", a.id, ", length=", a.length, ")");
      });
  nb::class_<SequenceInfo>(module, "SequenceInfo", "What is known of a sequence; token counts.")
      .def_ro("index", &SequenceInfo::index, "Its row in the device tables.")
      .def_ro("length", &SequenceInfo::length, "Rows.")
      .def_ro("known", &SequenceInfo::known, "Token ids.")
      .def_ro("settled", &SequenceInfo::settled, "min(length, known)")
      .def_ro("undecided_drafts", &SequenceInfo::undecided_drafts)
      .def_ro("published", &SequenceInfo::published, "Tokens whose chunks are in the prefix index.")
      .def_ro("write_from", &SequenceInfo::write_from,
              "Entries before it are shared and not written.")
      .def_ro("approximate", &SequenceInfo::approximate)
      .def_ro("reserve_tokens", &SequenceInfo::reserve_tokens, "As asked for.")
      .def("__repr__", [](const SequenceInfo& i) {
        return absl::StrCat("SequenceInfo(index=", i.index, ", length=", i.length,
                            ", known=", i.known, ", settled=", i.settled,
                            ", undecided_drafts=", i.undecided_drafts, ")");
      });
  nb::class_<PoolUse>(module, "PoolUse",
                      "Blocks of a pool: capacity = free + live + cached + draining.")
      .def_ro("capacity", &PoolUse::capacity)
      .def_ro("free", &PoolUse::free)
      .def_ro("live", &PoolUse::live)
      .def_ro("cached", &PoolUse::cached,
              "Content that may be reused; evicted where blocks are short.")
      .def_ro("draining", &PoolUse::draining, "Until the plans that may name them are retired.")
      .def_ro("evictable_now", &PoolUse::evictable_now,
              "Of those cached: a step that needs them evicts them.")
      .def_ro("evictable_later", &PoolUse::evictable_later,
              "The others: when plans that may name them are retired.")
      .def_ro("reserved", &PoolUse::reserved,
              "Of those free, cached and draining: set aside for sequences.")
      .def("__repr__", [](const PoolUse& u) {
        return absl::StrCat("PoolUse(capacity=", u.capacity, ", free=", u.free, ", live=", u.live,
                            ", cached=", u.cached, ", draining=", u.draining, ")");
      });
}

void MakePrefixOptions(PrefixOptions* self, bool enabled, nb::handle match, nb::handle checkpoints,
                       bool record_events, int32_t max_events, bool event_keys) {
  new (self) PrefixOptions{.enabled = enabled,
                           .match = MatchPolicyOf(match),
                           .checkpoints = CheckpointPolicyOf(checkpoints),
                           .record_events = record_events,
                           .max_events = max_events,
                           .event_keys = event_keys};
}

void BindOptions(nb::module_& module) {
  nb::class_<PrefixOptions>(module, "PrefixOptions", "How prefixes are reused.")
      .def(
          "__init__", &MakePrefixOptions, nb::kw_only(), "enabled"_a = true, "match"_a = "appended",
          "checkpoints"_a = "end", "record_events"_a = false,
          "max_events"_a = PrefixOptions().max_events, "event_keys"_a = false,
          nb::sig("def __init__(self, *, enabled: bool = True, match: MatchName = 'appended', "
                  "checkpoints: Literal['none', 'end'] | int = 'end', record_events: bool = False, "
                  "max_events: int = 1048576, event_keys: bool = False) -> None"),
          "enabled: False matches and publishes nothing.\n"
          "match: 'appended' as soon as a step is appended; 'retired' only what plans computed\n"
          "that retire named.\n"
          "checkpoints: 'none', 'end' (of prompt and output), or a number of tokens between two,\n"
          "a multiple of the chunk's.\n"
          "record_events: keep events for take_events. max_events: most that wait, at least 1; "
          "beyond,\n"
          "they are dropped, and a 'gap' says so. event_keys: 'chunk_stored' has salt and keys.")
      .def_ro("enabled", &PrefixOptions::enabled)
      .def_ro("record_events", &PrefixOptions::record_events)
      .def_ro("max_events", &PrefixOptions::max_events)
      .def_ro("event_keys", &PrefixOptions::event_keys)
      .def_prop_ro("match", [](const PrefixOptions& o) { return WordOf(o.match); })
      .def_prop_ro(
          "checkpoints", [](const PrefixOptions& o) { return WordOf(o.checkpoints); },
          nb::sig("def checkpoints(self) -> str | int"));
}

}  // namespace

void BindLedger(nb::module_& module) {
  BindRecords(module);
  BindOptions(module);
  module.def(
      "sequence_index", [](uint64_t id) { return IdOf(id).index; }, "id"_a,
      "The row in the device tables that a handle stands for.");
  nb::class_<PyLedger> ledger(
      module, "Ledger",
      "The bookkeeping of a cache: which sequence owns which blocks of which pool.\n\n"
      "It touches no device and knows no address; what it decides leaves it as a Plan.\n\n"
      "    allocate_sequence -> { append -> (run the step) -> commit [-> truncate] }* -> "
      "free_sequence\n\n"
      "One thread at a time: a call that meets another thread inside raises RuntimeError and\n"
      "changes nothing. Only probe calls may overlap each other.");
  ledger.def(
      "__init__", &MakeLedger, "deployment"_a, nb::kw_only(), "epoch"_a.none() = nb::none(),
      "in_flight_plans"_a = 0, "prefix"_a = PrefixOptions(),
      nb::sig(
          "def __init__(self, deployment: CapacityPlan | Geometry, *, epoch: int | None = None, "
          "in_flight_plans: int = 0, prefix: PrefixOptions = ...) -> None"),
      "deployment: what plan_capacity gave, or its geometry (pools have no names then).\n"
      "epoch: tells this ledger's plans from all others; None: one that differs by itself.\n"
      "in_flight_plans: most plans that may be unretired; 0 where all work is ordered by one\n"
      "stream and retire is not called.\n\n"
      "Raises InvalidArgument, ResourceExhausted without the memory for it.");
  AddSequenceCalls(ledger);
  AddPlanCalls(ledger);
  ledger.def(
      "metrics", [](PyLedger& self) { return MetricsOf(self.ledger()); },
      "All that a monitor asks, in one call; to_json and to_prometheus write it.");
  ledger.def_prop_ro(
      "geometry", [](PyLedger& self) { return self.ledger().ledger->geometry(); },
      "The deployment that plans are made for.");
}

}  // namespace terrace::python
