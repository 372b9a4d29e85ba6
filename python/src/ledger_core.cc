#include "python/src/ledger_core.h"

#include <cstring>
#include <utility>

#include "python/src/key_ranges.h"
#include "python/src/numbers.h"
#include "python/src/structured.h"
#include "python/src/words.h"

namespace terrace::python {
namespace {

std::vector<ChunkDigest> DigestsOf(nb::handle digests) {
  if (digests.is_none()) return {};
  Py_buffer view;
  if (PyObject_GetBuffer(digests.ptr(), &view, PyBUF_CONTIG_RO) != 0) {
    PyErr_Clear();
    RaiseInvalid("digests is no array of CHUNK_DIGEST");
  }
  const bool fits = view.itemsize == sizeof(ChunkDigest) && view.ndim == 1;
  std::vector<ChunkDigest> copy(fits ? view.len / sizeof(ChunkDigest) : 0);
  if (!copy.empty()) std::memcpy(copy.data(), view.buf, view.len);
  PyBuffer_Release(&view);
  if (!fits) RaiseInvalid("digests is no array of CHUNK_DIGEST");
  return copy;
}

// Calls `use` with a request that borrows from `arguments` and from here.
template <typename Use>
auto WithRequest(const RequestArguments& arguments, const Use& use) {
  const Numbers<int32_t> tokens(arguments.tokens, "tokens");
  if (tokens.is_one()) RaiseInvalid("tokens is one number, not a list of ids");
  const std::string salt = KeyBytes(arguments.salt, "salt");
  const KeyRanges ranges(arguments.key_ranges);
  const Numbers<int32_t> marks(arguments.marks, "marks");
  const std::vector<ChunkDigest> digests = DigestsOf(arguments.digests);
  SequenceRequest request = {.tokens = tokens.span(),
                             .salt = salt,
                             .key_ranges = ranges.span(),
                             .marks = marks.span(),
                             .digests = digests,
                             .refeed = {},
                             .priority = PriorityOf(arguments.priority),
                             .time_to_live_ms = arguments.time_to_live_ms,
                             .reserve_tokens = arguments.reserve_tokens,
                             .returning = arguments.returning,
                             .ids_ahead = arguments.ids_ahead};
  request.refeed.approximate_tokens = arguments.approximate_tokens;
  if (!arguments.max_refeed_tokens.is_none()) {
    request.refeed.max_tokens =
        WholeNumber<int32_t>(arguments.max_refeed_tokens, "max_refeed_tokens");
  }
  return use(request);
}

// What an ADMISSION of _dtypes.py holds.
struct AdmissionRecord {
  uint64_t id;
  int32_t length;
  int32_t matched;
  int32_t resumed;
  int32_t skipped;
  int32_t refed;
  bool approximate;
};

nb::object ToArray(const Abandoned& abandoned) {
  std::vector<AdmissionRecord> records;
  records.reserve(abandoned.sequences.size());
  for (const Admission& a : abandoned.sequences) {
    records.push_back({HandleOf(a.id), a.length, a.match.matched, a.match.resumed, a.match.skipped,
                       a.match.refed, a.match.approximate});
  }
  return NewArray<AdmissionRecord>("ADMISSION", records);
}

// Each of several sequences once.
class Distinct {
 public:
  explicit Distinct(const LedgerCore& core)
      : seen_((core.ledger->geometry().max_sequences + 63) / 64) {}

  // What is known of sequence `id`.
  // Errors: those of Info, and InvalidArgument for one given twice.
  SequenceInfo Add(const LedgerCore& core, uint64_t id) {
    const SequenceInfo info = core.Take(core.ledger->Info(IdOf(id)));
    const uint64_t bit = uint64_t{1} << (info.index % 64);
    if ((seen_[info.index / 64] & bit) != 0) RaiseInvalid("sequence ", id, " is given twice");
    seen_[info.index / 64] |= bit;
    return info;
  }

 private:
  std::vector<uint64_t> seen_;  // a bit a sequence index
};

}  // namespace

int LedgerCore::PoolOf(nb::handle pool) const {
  if (PyUnicode_Check(pool.ptr())) {
    const std::string name = nb::cast<std::string>(pool);
    std::string known;
    for (size_t i = 0; i < pool_names.size(); ++i) {
      if (pool_names[i] == name) return static_cast<int>(i);
      absl::StrAppend(&known, known.empty() ? "" : ", ", pool_names[i]);
    }
    RaiseInvalid("no pool is named \"", name, "\"; there are ", known);
  }
  const int32_t index = WholeNumber<int32_t>(pool, "pool");
  if (index < 0 || index >= ledger->geometry().num_pools) {
    RaiseInvalid("pool ", index, " is not in 0..", ledger->geometry().num_pools - 1);
  }
  return index;
}

std::string LedgerCore::PoolName(int pool) const {
  return pool >= 0 && pool < static_cast<int>(pool_names.size()) ? pool_names[pool]
                                                                 : absl::StrCat("pool ", pool);
}

void LedgerCore::Raise(const absl::Status& status) const {
  const std::optional<Shortage> shortage = ShortageOf(status);
  if (!shortage.has_value()) python::Raise(status);
  const int pool = shortage->pool.value();
  nb::dict fields;
  fields["pool"] = PoolName(pool);
  fields["pool_index"] = pool;
  fields["missing_blocks"] = shortage->missing_blocks;
  fields["retry_later"] = shortage->retry_later;
  fields["needed_blocks"] = shortage->needed_blocks;
  fields["free_blocks"] = shortage->free_blocks;
  fields["evictable_blocks"] = shortage->evictable_blocks;
  fields["returning_blocks"] = shortage->returning_blocks;
  fields["preemptible_blocks"] = shortage->preemptible_blocks;
  fields["held_blocks"] = shortage->held_blocks;
  fields["reserved_blocks"] = shortage->reserved_blocks;
  fields["retire"] = shortage->retire.value();
  fields["retire_blocks"] = shortage->retire_blocks;
  if (const absl::StatusOr<PoolUse> use = ledger->Use(shortage->pool); use.ok()) {
    fields["capacity"] = use->capacity;
    fields["free"] = use->free;
    fields["live"] = use->live;
    fields["cached"] = use->cached;
    fields["draining"] = use->draining;
  }
  RaiseError("OutOfBlocks", nb::make_tuple(std::string(status.message())), fields);
}

PyAdmission AllocateSequence(LedgerCore& core, const RequestArguments& arguments) {
  return WithRequest(arguments, [&](const SequenceRequest& request) {
    const Entered entered(core.lock);
    const Admission admission = core.Take([&] {
      const nb::gil_scoped_release released;
      return core.ledger->AllocateSequence(request);
    }());
    return PyAdmission{HandleOf(admission.id), admission.length, admission.match};
  });
}

PrefixMatch Probe(LedgerCore& core, const RequestArguments& arguments) {
  return WithRequest(arguments, [&](const SequenceRequest& request) {
    const Shared shared(core.lock);
    return core.Take([&] {
      const nb::gil_scoped_release released;
      return core.ledger->Probe(request);
    }());
  });
}

PrefixMatch ExtendMatch(LedgerCore& core, uint64_t id) {
  const Entered entered(core.lock);
  return core.Take([&] {
    const nb::gil_scoped_release released;
    return core.ledger->ExtendMatch(IdOf(id));
  }());
}

uint64_t Fork(LedgerCore& core, uint64_t id) {
  const Entered entered(core.lock);
  return HandleOf(core.Take([&] {
    const nb::gil_scoped_release released;
    return core.ledger->Fork(IdOf(id));
  }()));
}

Plan Append(LedgerCore& core, nb::handle ids, nb::handle tokens, nb::handle drafts) {
  const Numbers<uint64_t> sequences(ids, "ids");
  const Numbers<int32_t> counts(tokens, "tokens");
  const Numbers<int32_t> draft_counts(drafts, "drafts");
  counts.CheckLength(sequences.size(), "sequences");
  draft_counts.CheckLength(sequences.size(), "sequences");
  std::vector<StepRequest> batch(sequences.size());
  for (int64_t i = 0; i < sequences.size(); ++i) {
    batch[i] = {IdOf(sequences[i]), counts.at(i), draft_counts.at(i)};
  }
  const Entered entered(core.lock);
  return core.Take([&] {
    const nb::gil_scoped_release released;
    return core.On([&](auto& ledger) { return ledger.Append(batch); });
  }());
}

void Commit(LedgerCore& core, nb::handle ids, nb::handle tokens, nb::handle counts) {
  const Numbers<uint64_t> sequences(ids, "ids");
  const Numbers<int32_t> known(tokens, "tokens");
  const Entered entered(core.lock);
  if (sequences.is_one() && counts.is_none()) {
    core.Check(core.ledger->Commit(IdOf(sequences[0]), known.span()));
    return;
  }
  const nb::object one = nb::int_(1);
  const Numbers<int32_t> each(counts.is_none() ? nb::handle(one) : counts, "counts");
  each.CheckLength(sequences.size(), "sequences");
  // What could fail is looked at before anything is given, but for ids that run ahead of the rows:
  // only the ledger knows who may.
  Distinct distinct(core);
  int64_t first = 0;
  for (int64_t i = 0; i < sequences.size(); ++i) {
    const int32_t count = each.at(i);
    const SequenceInfo info = distinct.Add(core, sequences[i]);
    if (count < 0) RaiseInvalid("counts[", i, "] is ", count, ", negative");
    if (info.known + int64_t{count} > core.ledger->geometry().max_context_tokens + int64_t{1}) {
      RaiseInvalid("sequence ", sequences[i], " knows ", info.known, " ids: ", count,
                   " more are beyond max_context_tokens + 1, ",
                   core.ledger->geometry().max_context_tokens, " + 1");
    }
    first += count;
  }
  if (first != known.size()) {
    RaiseInvalid("tokens has ", known.size(), " ids for counts of ", first, " in all");
  }
  first = 0;
  for (int64_t i = 0; i < sequences.size(); ++i) {
    const absl::Status status =
        core.ledger->Commit(IdOf(sequences[i]), known.span().subspan(first, each.at(i)));
    if (!status.ok()) {
      core.Raise(absl::Status(
          status.code(),
          absl::StrCat("ids[", i, "], behind ", i, " that have theirs: ", status.message())));
    }
    first += each.at(i);
  }
}

void Truncate(LedgerCore& core, nb::handle ids, nb::handle lengths) {
  const Numbers<uint64_t> sequences(ids, "ids");
  const Numbers<int32_t> rows(lengths, "lengths");
  rows.CheckLength(sequences.size(), "sequences");
  const Entered entered(core.lock);
  if (sequences.size() > 1) {
    Distinct distinct(core);
    for (int64_t i = 0; i < sequences.size(); ++i) {
      const SequenceInfo info = distinct.Add(core, sequences[i]);
      const int32_t least = std::max(info.settled, info.length - info.undecided_drafts);
      if (rows.at(i) > info.length || rows.at(i) < least) {
        RaiseInvalid("lengths[", i, "] is ", rows.at(i), "; sequence ", sequences[i],
                     " can be taken back to ", least, "..", info.length);
      }
    }
  }
  for (int64_t i = 0; i < sequences.size(); ++i) {
    core.Check(core.ledger->Truncate(IdOf(sequences[i]), rows.at(i)));
  }
}

void FreeSequence(LedgerCore& core, nb::handle ids, nb::handle reason) {
  const FreeReason why = FreeReasonOf(reason);
  const Numbers<uint64_t> sequences(ids, "ids");
  const Entered entered(core.lock);
  Distinct distinct(core);
  for (const uint64_t id : sequences.span()) distinct.Add(core, id);
  const nb::gil_scoped_release released;
  for (const uint64_t id : sequences.span()) core.ledger->FreeSequence(IdOf(id), why).IgnoreError();
}

void Retire(LedgerCore& core, uint64_t plan) {
  const Entered entered(core.lock);
  core.Check([&] {
    const nb::gil_scoped_release released;
    return core.ledger->Retire(PlanNumber(plan));
  }());
}

nb::object Abandon(LedgerCore& core, uint64_t first) {
  const Entered entered(core.lock);
  return ToArray(core.Take([&] {
    const nb::gil_scoped_release released;
    return core.On([&](auto& ledger) { return ledger.Abandon(PlanNumber(first)); });
  }()));
}

nb::object Distrust(LedgerCore& core, nb::handle ids, nb::handle from) {
  const Numbers<uint64_t> sequences(ids, "ids");
  const Numbers<int32_t> first(from, "from_position");
  first.CheckLength(sequences.size(), "sequences");
  std::vector<Distrusted> wrong(sequences.size());
  for (int64_t i = 0; i < sequences.size(); ++i) wrong[i] = {IdOf(sequences[i]), first.at(i)};
  const Entered entered(core.lock);
  return ToArray(core.Take([&] {
    const nb::gil_scoped_release released;
    return core.ledger->Distrust(wrong);
  }()));
}

void SetTime(LedgerCore& core, int64_t now_ms) {
  const Entered entered(core.lock);
  core.Check([&] {
    const nb::gil_scoped_release released;
    return core.ledger->SetTime(now_ms);
  }());
}

void ClearPrefixes(LedgerCore& core) {
  const Entered entered(core.lock);
  const nb::gil_scoped_release released;
  core.ledger->ClearPrefixes();
}

Plan TakeSnapshot(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.Take([&] {
    const nb::gil_scoped_release released;
    return core.ledger->Snapshot();
  }());
}

nb::object Info(LedgerCore& core, nb::handle ids) {
  const Numbers<uint64_t> sequences(ids, "ids");
  std::vector<SequenceInfo> infos(sequences.size());
  {
    const Entered entered(core.lock);
    for (int64_t i = 0; i < sequences.size(); ++i) {
      infos[i] = core.Take(core.ledger->Info(IdOf(sequences[i])));
    }
  }
  if (sequences.is_one()) return nb::cast(infos[0]);
  return NewArray<SequenceInfo>("SEQUENCE_INFO", infos);
}

nb::object Use(LedgerCore& core, nb::handle pool) {
  std::vector<PoolUse> uses;
  {
    const Entered entered(core.lock);
    if (!pool.is_none()) {
      return nb::cast(core.Take(core.ledger->Use(PoolIndex(core.PoolOf(pool)))));
    }
    for (int p = 0; p < core.ledger->geometry().num_pools; ++p) {
      uses.push_back(core.Take(core.ledger->Use(PoolIndex(p))));
    }
  }
  return NewArray<PoolUse>("POOL_USE", uses);
}

int32_t NumSequences(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.ledger->num_sequences();
}

uint64_t Epoch(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.ledger->epoch();
}

uint32_t Generation(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.ledger->generation();
}

uint64_t LastPlan(LedgerCore& core) {
  const Entered entered(core.lock);
  return core.ledger->last_plan().value();
}

void CheckInvariants(LedgerCore& core) {
  const Entered entered(core.lock);
  const nb::gil_scoped_release released;
  core.ledger->CheckInvariants();
}

}  // namespace terrace::python
