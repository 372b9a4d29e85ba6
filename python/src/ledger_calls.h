// The scheduler's calls, added to a class that has a ledger: Ledger and Cache.

#ifndef TERRACE_PYTHON_SRC_LEDGER_CALLS_H_
#define TERRACE_PYTHON_SRC_LEDGER_CALLS_H_

#include <nanobind/nanobind.h>

#include "python/src/bind.h"
#include "python/src/ledger_core.h"

namespace terrace::python {

// REQUIRES: C has ledger(), a LedgerCore.
template <typename C>
void AddSequenceCalls(nb::class_<C>& c) {
  const auto empty = nb::make_tuple();
  c.def(
       "allocate_sequence",
       [](C& self, nb::handle tokens, nb::handle salt, nb::handle key_ranges, nb::handle marks,
          nb::handle digests, nb::handle limit, int32_t approximate, nb::handle priority,
          int64_t time_to_live_ms, int32_t reserve_tokens, bool returning, bool ids_ahead) {
         return AllocateSequence(
             self.ledger(), {tokens, salt, key_ranges, marks, digests, limit, approximate, priority,
                             time_to_live_ms, reserve_tokens, returning, ids_ahead});
       },
       "tokens"_a = empty, nb::kw_only(), "salt"_a = nb::bytes("", 0), "key_ranges"_a = empty,
       "marks"_a = empty, "digests"_a.none() = nb::none(),
       "max_refeed_tokens"_a.none() = nb::none(), "approximate_tokens"_a = 0,
       "priority"_a = "normal", "time_to_live_ms"_a = 0, "reserve_tokens"_a = 0,
       "returning"_a = false, "ids_ahead"_a = false,
       nb::sig("def allocate_sequence(self, tokens: Ints = (), *, salt: bytes | str = b'', "
               "key_ranges: KeyRanges = (), marks: Ints = (), digests: Records | None = None, "
               "max_refeed_tokens: int | None = None, approximate_tokens: int = 0, priority: "
               "PriorityName = 'normal', time_to_live_ms: int = 0, reserve_tokens: int = 0, "
               "returning: bool = False, "
               "ids_ahead: bool = False) -> Admission"),
       "Takes a sequence for a prompt of `tokens` (int32 ids), and all that it can reuse.\n\n"
       "Feed tokens from `length` of the answer on. Prefixes are shared only under equal `salt`\n"
       "(tenant, adapter, model version) and equal `key_ranges`: (begin, end, key) says what "
       "tokens\n"
       "mean beside their ids, a picture behind placeholders; an end of None is none. `marks` are\n"
       "positions where a checkpoint is to stay: the end of a system prompt. `max_refeed_tokens`\n"
       "bounds what is fed again for a match without a checkpoint (None: no bound);\n"
       "`approximate_tokens` above 0 feeds at most so many. `time_to_live_ms` counts by set_time,\n"
       "after the last use; 0 is no limit. `returning`: it was preempted before, and is counted\n"
       "apart. `ids_ahead`: commit may give ids of tokens that are fed later. `reserve_tokens`: "
       "room\n"
       "is set aside for the first so many tokens, and no other sequence takes it.\n\n"
       "Raises ResourceExhausted when all sequence indices are taken, OutOfBlocks for a prompt or "
       "a\n"
       "reservation that no pool can ever hold, or a reservation that has no room now "
       "(retry_later),\n"
       "InvalidArgument. Takes no new block yet. Releases the GIL.")
      .def(
          "probe",
          [](C& self, nb::handle tokens, nb::handle salt, nb::handle key_ranges, nb::handle digests,
             nb::handle limit, int32_t approximate) {
            const nb::object normal = nb::str("normal");
            const nb::object none = nb::make_tuple();
            return Probe(self.ledger(),
                         {tokens, salt, key_ranges, none, digests, limit, approximate, normal});
          },
          "tokens"_a, nb::kw_only(), "salt"_a = nb::bytes("", 0), "key_ranges"_a = empty,
          "digests"_a.none() = nb::none(), "max_refeed_tokens"_a.none() = nb::none(),
          "approximate_tokens"_a = 0,
          nb::sig(
              "def probe(self, tokens: Ints, *, salt: bytes | str = b'', key_ranges: KeyRanges = "
              "(), digests: Records | None = None, max_refeed_tokens: int | None = None, "
              "approximate_tokens: int = 0) -> PrefixMatch"),
          "What allocate_sequence would find now. Changes nothing.\n\n"
          "Several threads may probe at once. Releases the GIL.")
      .def(
          "extend_match", [](C& self, uint64_t id) { return ExtendMatch(self.ledger(), id); },
          "id"_a, nb::sig("def extend_match(self, id: int) -> PrefixMatch"),
          "Attaches what others published since: call it before a step of a prompt that is still\n"
          "being fed, and go on at info(id).length.\n\n"
          "Raises NotFound, FailedPrecondition for undecided drafts.")
      .def(
          "fork", [](C& self, uint64_t id) { return Fork(self.ledger(), id); }, "id"_a,
          nb::sig("def fork(self, id: int) -> int"),
          "A second sequence with the same tokens and rows; blocks are shared until one writes.\n\n"
          "Raises NotFound, ResourceExhausted, FailedPrecondition for undecided drafts or rows\n"
          "whose ids are not committed.")
      .def(
          "append",
          [](C& self, nb::handle ids, nb::handle tokens, nb::handle drafts) {
            return Append(self.ledger(), ids, tokens, drafts);
          },
          "ids"_a, "tokens"_a = 1, "drafts"_a = 0,
          nb::sig("def append(self, ids: Ids, tokens: Ints = 1, drafts: Ints = 0) -> Plan"),
          "Feeds a batch: `tokens` rows of each of `ids`, the last `drafts` of them "
          "speculative.\n\n"
          "`ids` are handles: one int, a list, or an array of int64 or uint64. `tokens` and "
          "`drafts`\n"
          "are one number for all, or one each. Their order is that of the plan's rows. All or\n"
          "nothing over all sequences and pools; never waits. No ids at all are a step of no "
          "sequence.\n\n"
          "Raises OutOfBlocks (its `retry_later` and `helps` say what to do; ask again after a "
          "free\n"
          "or a retire), NotFound, InvalidArgument for duplicates or counts beyond the limits,\n"
          "FailedPrecondition for undecided drafts or too many unretired plans. Releases the GIL.")
      .def(
          "commit",
          [](C& self, nb::handle ids, nb::handle tokens, nb::handle counts) {
            Commit(self.ledger(), ids, tokens, counts);
          },
          "ids"_a, "tokens"_a, "counts"_a.none() = nb::none(),
          nb::sig("def commit(self, ids: Ids, tokens: Ints, counts: Ints | None = None) -> None"),
          "Gives the next token ids (int32), in order.\n\n"
          "One handle: all of `tokens` are its. Several: one token each, or `counts[i]` of them "
          "for\n"
          "ids[i], one sequence's behind the other's.\n\n"
          "Raises NotFound and InvalidArgument beyond max_context_tokens + 1 ids before anything "
          "is\n"
          "given, FailedPrecondition for ids more than one ahead of the rows (see ids_ahead): "
          "what\n"
          "stands before that sequence in the batch has been given.")
      .def(
          "truncate",
          [](C& self, nb::handle ids, nb::handle lengths) {
            Truncate(self.ledger(), ids, lengths);
          },
          "ids"_a, "lengths"_a, nb::sig("def truncate(self, ids: Ids, lengths: Ints) -> None"),
          "Takes back rows from `lengths` on: drafts of the last step that are not settled.\n\n"
          "All or nothing. Raises NotFound, InvalidArgument.")
      .def(
          "free_sequence",
          [](C& self, nb::handle ids, nb::handle reason) {
            FreeSequence(self.ledger(), ids, reason);
          },
          "ids"_a, "reason"_a = "finished",
          nb::sig("def free_sequence(self, ids: Ids, reason: FreeReasonName = 'finished') -> None"),
          "Frees one sequence or several, all or none. The reason is only counted (metrics).\n\n"
          "Raises NotFound for a handle that is stale or was never given, InvalidArgument.");
}

template <typename C>
void AddPlanCalls(nb::class_<C>& c) {
  c.def(
       "retire", [](C& self, uint64_t plan) { Retire(self.ledger(), plan); }, "plan"_a,
       nb::sig("def retire(self, plan: int) -> None"),
       "Every plan up to number `plan` has run to its end on every store: no store touches its\n"
       "blocks any more. Never waits; poll your stream's event and call it when it is done.\n\n"
       "Raises InvalidArgument for a plan not made yet or retired before, FailedPrecondition if\n"
       "in_flight_plans is 0 and matching does not wait for it.")
      .def(
          "abandon", [](C& self, uint64_t first) { return Abandon(self.ledger(), first); },
          "first"_a, nb::sig("def abandon(self, first: int) -> Records"),
          "The plans `first` to last_plan() count as not run, on any store.\n\n"
          "Gives the sequences that go back, dtype ADMISSION: feed each from its `length` on. "
          "Every\n"
          "store begins a snapshot() next. The caller promises that no store begins a plan made\n"
          "before this call. Raises InvalidArgument for `first` outside 1..last_plan().")
      .def(
          "distrust",
          [](C& self, nb::handle ids, nb::handle from) {
            return Distrust(self.ledger(), ids, from);
          },
          "ids"_a, "from_position"_a = 0,
          nb::sig("def distrust(self, ids: Ids, from_position: Ints = 0) -> Records"),
          "Rows of these sequences from `from_position` on are wrong, as where an output was "
          "NaN.\n\n"
          "Gives the sequences that go back, dtype ADMISSION. Forks made beyond it are to be "
          "named\n"
          "too. Raises NotFound, InvalidArgument; nothing has changed then.")
      .def(
          "snapshot", [](C& self) { return TakeSnapshot(self.ledger()); },
          nb::sig("def snapshot(self) -> Plan"),
          "All block tables as one plan: for a store that missed a plan, and for every store "
          "after\n"
          "abandon. Does not count as a step.")
      .def(
          "set_time", [](C& self, int64_t now_ms) { SetTime(self.ledger(), now_ms); }, "now_ms"_a,
          nb::sig("def set_time(self, now_ms: int) -> None"),
          "Tells the time in ms from any start; drops what outlived its time to live.\n\n"
          "Raises InvalidArgument for an earlier time.")
      .def(
          "clear_prefixes", [](C& self) { ClearPrefixes(self.ledger()); },
          nb::sig("def clear_prefixes(self) -> None"),
          "Forgets every published prefix and checkpoint: the weights changed.")
      .def(
          "take_events", [](C& self) { return TakeEvents(self.ledger()); },
          nb::sig("def take_events(self) -> Records"),
          "Events since the last call, in order: dtype PREFIX_EVENT. None unless record_events.\n\n"
          "At most max_events, and one 'gap' behind them if more were dropped.")
      .def(
          "index_events", [](C& self) { return IndexEvents(self.ledger()); },
          nb::sig("def index_events(self) -> Records"),
          "The whole index as events, for a router that starts late or comes to a gap.\n\n"
          "'cleared' first, then all chunks and checkpoints, parents first. Each has the number "
          "of\n"
          "the last event until now: a router skips those up to it. Takes no event.")
      .def(
          "prefix_figures", [](C& self) { return Figures(self.ledger()); },
          nb::sig("def prefix_figures(self) -> PrefixFigures"),
          "What prefix reuse brought since the ledger was made.")
      .def(
          "info", [](C& self, nb::handle ids) { return Info(self.ledger(), ids); }, "ids"_a,
          nb::sig("@overload\ndef info(self, ids: int) -> SequenceInfo: ...\n"
                  "@overload\ndef info(self, ids: Sequence[int] | IntArray) -> Records"),
          "What is known of a sequence; of several, an array of dtype SEQUENCE_INFO.\n\n"
          "Raises NotFound.")
      .def(
          "use", [](C& self, nb::handle pool) { return Use(self.ledger(), pool); },
          "pool"_a.none() = nb::none(),
          nb::sig("@overload\ndef use(self, pool: int | str) -> PoolUse: ...\n"
                  "@overload\ndef use(self, pool: None = None) -> Records"),
          "The blocks of a pool, by name or index; of all pools, an array of dtype POOL_USE.\n\n"
          "Raises InvalidArgument that lists the pools.")
      .def(
          "num_sequences", [](C& self) { return NumSequences(self.ledger()); },
          nb::sig("def num_sequences(self) -> int"), "How many are live.")
      .def(
          "last_plan", [](C& self) { return LastPlan(self.ledger()); },
          nb::sig("def last_plan(self) -> int"), "The number of the last plan; 0 before the first.")
      .def(
          "epoch", [](C& self) { return Epoch(self.ledger()); }, nb::sig("def epoch(self) -> int"),
          "What tells this ledger's plans from all others.")
      .def(
          "generation", [](C& self) { return Generation(self.ledger()); },
          nb::sig("def generation(self) -> int"),
          "Of the next plan: 1, and one more for each abandon.")
      .def(
          "check_invariants", [](C& self) { CheckInvariants(self.ledger()); },
          nb::sig("def check_invariants(self) -> None"),
          "Walks everything and aborts the process where an invariant is broken: for tests.");
}

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_LEDGER_CALLS_H_
