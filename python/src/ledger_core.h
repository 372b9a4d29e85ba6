// LedgerCore is a ledger with what Python needs beside it: who owns it, who is inside, and the
// names of its pools. A Ledger has one of its own, a Cache that of its ledger.

#ifndef TERRACE_PYTHON_SRC_LEDGER_CORE_H_
#define TERRACE_PYTHON_SRC_LEDGER_CORE_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "python/src/entry_lock.h"
#include "python/src/errors.h"
#include "terrace/cache.h"
#include "terrace/ledger.h"
#include "terrace/metrics.h"

namespace terrace::python {

namespace nb = nanobind;

// A sequence's handle is a plain int in Python, so that arrays hold many: the generation in the
// upper 32 bits, the index in the lower.
constexpr uint64_t HandleOf(SequenceId id) {
  return (uint64_t{id.generation} << 32) | static_cast<uint32_t>(id.index);
}
constexpr SequenceId IdOf(uint64_t handle) {
  return {.index = static_cast<int32_t>(static_cast<uint32_t>(handle)),
          .generation = static_cast<uint32_t>(handle >> 32)};
}

struct LedgerCore {
  std::shared_ptr<void> owner;  // of the ledger
  Ledger* ledger = nullptr;
  Cache* cache = nullptr;  // of the ledger, if there is one
  std::vector<std::string> pool_names;
  EntryLock lock{"the ledger"};

  // Calls what both have: the cache, which sees to the order of steps, or else the ledger.
  template <typename Call>
  auto On(const Call& call) const {
    return cache != nullptr ? call(*cache) : call(*ledger);
  }

  // Index of a pool that is given by name or index.
  // Errors: InvalidArgument that lists the names.
  int PoolOf(nb::handle pool) const;
  std::string PoolName(int pool) const;

  // Raises `status`; a shortage as OutOfBlocks with the pool's blocks.
  [[noreturn]] void Raise(const absl::Status& status) const;
  void Check(const absl::Status& status) const {
    if (!status.ok()) Raise(status);
  }
  template <typename T>
  T Take(absl::StatusOr<T> value) const {
    if (!value.ok()) Raise(value.status());
    return *std::move(value);
  }
};

// A Ledger in Python.
struct PyLedger {
  std::shared_ptr<LedgerCore> core;
  LedgerCore& ledger() { return *core; }
};

// PrefixMatch and Admission as Python has them.
struct PyAdmission {
  uint64_t id = 0;
  int32_t length = 0;
  PrefixMatch match;
};

// What AllocateSequence and Probe take.
struct RequestArguments {
  nb::handle tokens;
  nb::handle salt;
  nb::handle key_ranges;
  nb::handle marks;
  nb::handle digests;
  nb::handle max_refeed_tokens;
  int32_t approximate_tokens = 0;
  nb::handle priority;
  int64_t time_to_live_ms = 0;
  int32_t reserve_tokens = 0;
  bool returning = false;
  bool ids_ahead = false;
};

// The calls, as both Ledger and Cache have them.
PyAdmission AllocateSequence(LedgerCore& core, const RequestArguments& arguments);
PrefixMatch Probe(LedgerCore& core, const RequestArguments& arguments);
PrefixMatch ExtendMatch(LedgerCore& core, uint64_t id);
uint64_t Fork(LedgerCore& core, uint64_t id);
Plan Append(LedgerCore& core, nb::handle ids, nb::handle tokens, nb::handle drafts);
void Commit(LedgerCore& core, nb::handle ids, nb::handle tokens, nb::handle counts);
void Truncate(LedgerCore& core, nb::handle ids, nb::handle lengths);
void FreeSequence(LedgerCore& core, nb::handle ids, nb::handle reason);
void Retire(LedgerCore& core, uint64_t plan);
nb::object Abandon(LedgerCore& core, uint64_t first);
nb::object Distrust(LedgerCore& core, nb::handle ids, nb::handle from);
void SetTime(LedgerCore& core, int64_t now_ms);
void ClearPrefixes(LedgerCore& core);
nb::object TakeEvents(LedgerCore& core);
nb::object IndexEvents(LedgerCore& core);
PrefixFigures Figures(LedgerCore& core);
LedgerMetrics MetricsOf(LedgerCore& core);
Plan TakeSnapshot(LedgerCore& core);
nb::object Info(LedgerCore& core, nb::handle ids);
nb::object Use(LedgerCore& core, nb::handle pool);
int32_t NumSequences(LedgerCore& core);
uint64_t Epoch(LedgerCore& core);
uint32_t Generation(LedgerCore& core);
uint64_t LastPlan(LedgerCore& core);
void CheckInvariants(LedgerCore& core);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_LEDGER_CORE_H_
