// EventLog keeps events until they are taken: the first so many, and behind them one kGap for all that
// were dropped since.
//
// Thread-safe: no, but const calls may run together.   Cost: O(1) an event.
//
// Invariants:
//  (1) at most max_events wait;
//  (2) the numbers of what is taken go up by one, but for a gap's: it has that of the last one
//      dropped.

#ifndef TERRACE_SRC_LEDGER_EVENT_LOG_H_
#define TERRACE_SRC_LEDGER_EVENT_LOG_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "terrace/prefix.h"

namespace terrace::internal {

class EventLog {
 public:
  explicit EventLog(const PrefixOptions& options)
      : records_(options.record_events), most_(static_cast<size_t>(options.max_events)) {}

  // Whether the event that happens now is to be added. If not, it counts as dropped where events are
  // recorded.
  bool NextIsKept() {
    if (!records_) return false;
    ++last_;
    if (events_.size() < most_) return true;
    ++dropped_;
    has_gap_ = true;
    return false;
  }
  // REQUIRES: NextIsKept was true, once for each event.
  void Add(PrefixEvent event) {
    event.number = last_;
    events_.push_back(std::move(event));
  }

  std::vector<PrefixEvent> Take() {
    std::vector<PrefixEvent> events = std::exchange(events_, {});
    if (std::exchange(has_gap_, false)) {
      events.push_back({.kind = PrefixEvent::Kind::kGap, .number = last_});
    }
    return events;
  }

  uint64_t last() const { return last_; }        // the number of the last event, kept or dropped
  uint64_t dropped() const { return dropped_; }  // since the ledger was made
  int64_t num_waiting() const { return static_cast<int64_t>(events_.size()); }

 private:
  const bool records_;
  const size_t most_;
  std::vector<PrefixEvent> events_;
  uint64_t last_ = 0;
  uint64_t dropped_ = 0;
  bool has_gap_ = false;  // behind all that wait
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_EVENT_LOG_H_
