// What a router and a monitor are told of a ledger: events, figures, metrics.

#include <vector>

#include "python/src/ledger_core.h"
#include "python/src/structured.h"

namespace terrace::python {
namespace {

// What a PREFIX_EVENT of _dtypes.py holds, but for its bytes.
struct EventRecord {
  int32_t kind;
  ChunkDigest digest;
  ChunkDigest parent;
  int32_t depth;
  uint64_t plan;
  uint64_t number;
};

nb::object ToArray(const std::vector<PrefixEvent>& events) {
  std::vector<EventRecord> records;
  records.reserve(events.size());
  nb::list salts;
  nb::list keys;
  for (const PrefixEvent& e : events) {
    records.push_back(
        {static_cast<int32_t>(e.kind), e.digest, e.parent, e.depth, e.plan.value(), e.number});
    salts.append(nb::bytes(e.salt.data(), e.salt.size()));
    keys.append(nb::bytes(e.keys.data(), e.keys.size()));
  }
  return nb::module_::import_("terrace_kv._dtypes")
      .attr("with_bytes")(NewArray<EventRecord>("_EVENT_RECORD", records), salts, keys);
}

}  // namespace

nb::object TakeEvents(LedgerCore& core) {
  std::vector<PrefixEvent> events;
  {
    const Entered entered(core.lock);
    events = core.ledger->TakeEvents();
  }
  return ToArray(events);
}

nb::object IndexEvents(LedgerCore& core) {
  std::vector<PrefixEvent> events;
  {
    const Entered entered(core.lock);
    const nb::gil_scoped_release released;
    events = core.ledger->IndexEvents();
  }
  return ToArray(events);
}

PrefixFigures Figures(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.ledger->prefix_figures();
}

LedgerMetrics MetricsOf(LedgerCore& core) {
  const Entered entered(core.lock);
  const nb::gil_scoped_release released;
  return core.ledger->metrics();
}

}  // namespace terrace::python
