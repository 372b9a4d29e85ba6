#include "tests/model/prefix_trial.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tests/support/use_of.h"

namespace terrace::testing {
namespace {

constexpr const char* kSalts[kNumSalts] = {"", "tenant"};

// What a text's placeholders stand for: pictures inside a chunk and across chunks, one that begins
// where another does and ends elsewhere, an adapter from a position on.
constexpr KeyRange kPicture = {100, 300, "a cat"};
constexpr KeyRange kAnotherThere = {100, 300, "a dog"};
constexpr KeyRange kLater = {520, 530, "a cat"};
constexpr KeyRange kAdapter = {256, KeyRange::kNoEnd, "adapter"};
const std::vector<KeyRange> kPictures[kNumPictures] = {
    {}, {kPicture}, {kAnotherThere}, {kPicture, kLater}, {kAdapter, kPicture}};

// Texts that branch at some chunk borders and in the middle of some chunks: token `position` of
// text `variant`.
int32_t TokenOf(int32_t variant, int32_t position) {
  const int32_t branch = position / 200;
  return 1000 * branch + (variant >> std::min(branch, 3) & 1) * 500 + position % 200;
}

}  // namespace

std::string PrefixInstruction::ToString() const {
  const std::string handle = absl::StrFormat("{%d, %d}", id.index, id.generation);
  const char* const kNames[] = {"Allocate",      "Probe",    "ExtendMatch", "Fork",   "Append",
                                "Commit",        "Truncate", "Free",        "Retire", "SetTime",
                                "ClearPrefixes", "Abandon",  "Distrust"};
  std::string text = absl::StrCat(kNames[static_cast<int>(kind)], inject ? " injected" : "", "(");
  switch (kind) {
    case Kind::kAllocate:
    case Kind::kProbe:
      absl::StrAppend(&text, number, " of text ", variant, ", salt ", salt, ", picture ", picture,
                      ", marks ", absl::StrJoin(marks, " "), ", refeed ", refeed.max_tokens, " ",
                      refeed.approximate_tokens, ", priority ", static_cast<int>(priority),
                      ", ttl ", time_to_live_ms, ids_ahead ? ", ids ahead" : "");
      break;
    case Kind::kAppend:
      for (const StepRequest& r : batch) {
        absl::StrAppendFormat(&text, "{{%d, %d}, %d, %d} ", r.id.index, r.id.generation, r.tokens,
                              r.drafts);
      }
      break;
    default:
      absl::StrAppend(&text, handle, ", ", number);
  }
  return text + ")";
}

PrefixTrial::PrefixTrial(LedgerOptions options)
    : options_([&] {
        options.prefix.record_events = true;
        options.epoch = 1;  // the twin's too: their plans have the same bytes
        return options;
      }()),
      model_(options_) {
  options.inject_shortage = [this](PoolIndex pool) { return Injected(countdown_, pool); };
  ledger_ = *Ledger::Create(options);
  options.inject_shortage = [this](PoolIndex pool) { return Injected(twin_countdown_, pool); };
  twin_ = *Ledger::Create(options);
}

std::string PrefixTrial::Execute(const PrefixInstruction& instruction) {
  history_.push_back(instruction.ToString());
  if (history_.size() > 30) history_.pop_front();
  Run(instruction);
  model_.Hear(ledger_->TakeEvents());
  if (Fault().empty()) model_.Check(*ledger_);
  ledger_->CheckInvariants();
  Expect(ledger_->prefix_figures() == twin_->prefix_figures(), "the twin has other figures");
  return Fault();
}

std::string PrefixTrial::Finish() {
  while (!model_.sequences().empty() && Fault().empty()) {
    const auto [sequence_index, generation] = model_.sequences().begin()->first;
    Execute({.kind = Kind::kFree, .id = {sequence_index, generation}});
  }
  if (model_.retired() < model_.last_plan() && options_.in_flight_plans > 0) {
    Execute({.kind = Kind::kRetire, .number = static_cast<int64_t>(model_.last_plan())});
  }
  Execute({.kind = Kind::kClear});
  for (int p = 0; p < options_.geometry.num_pools; ++p) {
    Expect(UseOf(*ledger_, p).free == UseOf(*ledger_, p).capacity, "a block was lost");
  }
  return Fault();
}

std::string PrefixTrial::History() const {
  std::string text;
  for (const std::string& line : history_) absl::StrAppend(&text, "  ", line, "\n");
  return text;
}

void PrefixTrial::Run(const PrefixInstruction& in) {
  switch (in.kind) {
    case Kind::kAllocate:
      return Allocate(in);
    case Kind::kProbe:
      return Probe(in);
    case Kind::kExtend:
      return Extend(in);
    case Kind::kFork:
      return Fork(in);
    case Kind::kAppend:
      return Append(in);
    case Kind::kCommit:
      return Commit(in);
    case Kind::kTruncate:
      return Truncate(in);
    case Kind::kFree:
      return Free(in);
    case Kind::kRetire:
      return Retire(in);
    case Kind::kAbandon:
      return Abandon(in);
    case Kind::kDistrust:
      return Distrust(in);
    case Kind::kSetTime:
      Expect(ledger_->SetTime(in.number).ok() && twin_->SetTime(in.number).ok(), "SetTime");
      return;
    case Kind::kClear:
      ledger_->ClearPrefixes();
      twin_->ClearPrefixes();
      model_.ClearPrefixes();
      return;
  }
}

SequenceRequest PrefixTrial::RequestOf(const PrefixInstruction& in) {
  prompt_.clear();
  for (int32_t p = 0; p < in.number; ++p) prompt_.push_back(TokenOf(in.variant, p));
  return {.tokens = prompt_,
          .salt = kSalts[in.salt],
          .key_ranges = kPictures[in.picture],
          .marks = in.marks,
          .refeed = in.refeed,
          .priority = in.priority,
          .time_to_live_ms = in.time_to_live_ms,
          .ids_ahead = in.ids_ahead};
}

void PrefixTrial::Allocate(const PrefixInstruction& in) {
  const SequenceRequest request = RequestOf(in);
  const absl::StatusOr<Admission> made = ledger_->AllocateSequence(request);
  const absl::StatusOr<Admission> twin = twin_->AllocateSequence(request);
  model_.JudgeAllocate(request, made.status());
  if (!made.ok()) return;
  Expect(twin.ok() && twin->id == made->id && twin->match == made->match,
         "the twin admits otherwise");
  model_.Allocate(request, *made);
  texts_[made->id.index] = in.variant;
  counts_.resumed += made->match.resumed > 0;
  counts_.refeeds += made->match.skipped > 0;
}

// The twin is not asked: if a look changed anything, the two would part.
void PrefixTrial::Probe(const PrefixInstruction& in) {
  const SequenceRequest request = RequestOf(in);
  const absl::StatusOr<PrefixMatch> match = ledger_->Probe(request);
  if (match.ok()) {
    Expect(*match == model_.ExpectMatch(request), "a look found something else than is cached");
  } else {
    const int64_t limit = options_.geometry.max_context_tokens;
    const bool bad_mark = std::any_of(in.marks.begin(), in.marks.end(),
                                      [&](int32_t mark) { return mark < 0 || mark > limit; });
    Expect(in.number > limit || in.refeed.max_tokens < 0 || bad_mark, "a good look is refused");
  }
}

void PrefixTrial::Extend(const PrefixInstruction& in) {
  const absl::StatusOr<PrefixMatch> match = ledger_->ExtendMatch(in.id);
  twin_->ExtendMatch(in.id).IgnoreError();
  model_.JudgeExtend(in.id, match.status());
  if (!match.ok()) return;
  model_.Extend(in.id, *match, *ledger_->Info(in.id));
  counts_.extended += match->matched > 0;
}

void PrefixTrial::Fork(const PrefixInstruction& in) {
  const absl::StatusOr<SequenceId> child = ledger_->Fork(in.id);
  twin_->Fork(in.id).IgnoreError();
  model_.JudgeFork(in.id, child.status());
  if (!child.ok()) return;
  model_.Fork(in.id, *child);
  texts_[child->index] = (texts_[in.id.index] + 1) % kNumTexts;
}

void PrefixTrial::Append(const PrefixInstruction& in) {
  for (const StepRequest& request : in.batch) {
    if (model_.Find(request.id) != nullptr) GuessTokens(request, in.wrong);
  }
  std::vector<Plan> plans;
  const bool inject = in.inject && model_.IsGood(in.batch);
  const absl::Status status = WithShortages(inject, [&](Ledger& ledger) {
    absl::StatusOr<Plan> plan = ledger.Append(in.batch);
    if (plan.ok()) plans.push_back(*std::move(plan));
    return plan.status();
  });
  counts_.short_of_blocks += ShortageOf(status).has_value();
  if (!fault_.empty()) return;
  model_.JudgeAppend(in.batch, status);
  if (!status.ok()) return;
  ++counts_.steps;
  Expect(plans.size() == 2 && plans[0].bytes() == plans[1].bytes(), "the twin makes another plan");
  Expect(Plan::Parse(plans[0].bytes(), options_.geometry).ok(), "the plan does not parse");
  model_.Append(in.batch, plans[0]);
}

void PrefixTrial::Commit(const PrefixInstruction& in) {
  const PrefixSequence* const sequence = model_.Find(in.id);
  std::vector<int32_t> tokens(in.number);
  for (int32_t i = 0; sequence != nullptr && i < in.number; ++i) {
    const int32_t position = sequence->known + i;
    tokens[i] = position < sequence->length ? sequence->tokens[position]
                                            : TokenOf(texts_[in.id.index], position);
  }
  const absl::Status status =
      WithShortages(in.inject, [&](Ledger& ledger) { return ledger.Commit(in.id, tokens); });
  model_.JudgeCommit(in.id, in.number, status);
  if (status.ok()) model_.Commit(in.id, tokens);
}

void PrefixTrial::Truncate(const PrefixInstruction& in) {
  const int32_t length = static_cast<int32_t>(in.number);
  const absl::Status status = ledger_->Truncate(in.id, length);
  twin_->Truncate(in.id, length).IgnoreError();
  model_.JudgeTruncate(in.id, length, status);
  if (status.ok()) model_.Truncate(in.id, length);
}

void PrefixTrial::Free(const PrefixInstruction& in) {
  const absl::Status status = ledger_->FreeSequence(in.id);
  twin_->FreeSequence(in.id).IgnoreError();
  model_.JudgeFree(in.id, status);
  model_.Hear(ledger_->TakeEvents());
  if (status.ok()) model_.Free(in.id);
}

void PrefixTrial::Retire(const PrefixInstruction& in) {
  const uint64_t plan = static_cast<uint64_t>(in.number);
  const absl::Status status = ledger_->Retire(PlanNumber(plan));
  twin_->Retire(PlanNumber(plan)).IgnoreError();
  model_.JudgeRetire(plan, status);
  if (status.ok()) model_.Retire(plan);
}

void PrefixTrial::Abandon(const PrefixInstruction& in) {
  const PlanNumber first(static_cast<uint64_t>(in.number));
  const absl::StatusOr<Abandoned> abandoned = ledger_->Abandon(first);
  const absl::StatusOr<Abandoned> twin = twin_->Abandon(first);
  model_.JudgeAbandon(first.value(), abandoned.status());
  if (!abandoned.ok()) return;
  Expect(twin.ok() && twin->sequences.size() == abandoned->sequences.size(),
         "the twin abandons otherwise");
  model_.Abandon(first.value(), *abandoned, ledger_->TakeEvents());
  for (const Admission& admission : abandoned->sequences) {
    ++counts_.abandoned;
    counts_.recovered += admission.match.matched > 0;
  }
}

void PrefixTrial::Distrust(const PrefixInstruction& in) {
  const std::vector<Distrusted> named = model_.FamilyOf(in.id, static_cast<int32_t>(in.number));
  if (named.empty()) return;
  const absl::StatusOr<Abandoned> abandoned = ledger_->Distrust(named);
  twin_->Distrust(named).IgnoreError();
  model_.JudgeDistrust(named, abandoned.status());
  if (!abandoned.ok()) return;
  model_.Distrust(named, *abandoned, ledger_->TakeEvents());
  counts_.distrusted += static_cast<int64_t>(abandoned->sequences.size());
}

// What the sequence's text says next is fed before its id is known.
void PrefixTrial::GuessTokens(const StepRequest& request, uint32_t wrong) {
  const PrefixSequence& sequence = *model_.Find(request.id);
  std::vector<int32_t> tokens;
  const int32_t end =
      std::min(sequence.length + request.tokens, options_.geometry.max_context_tokens);
  for (int32_t p = std::max(sequence.known, sequence.length); p < end; ++p) {
    const int32_t draft = p - (end - request.drafts);
    const bool is_wrong = draft >= 0 && (wrong >> (draft % 32) & 1) != 0;
    tokens.push_back(is_wrong ? -p : TokenOf(texts_[request.id.index], p));
  }
  model_.Guess(request.id, tokens);
}

absl::Status PrefixTrial::WithShortages(bool inject, const Call& call) {
  for (int place = inject ? 0 : kNever;; ++place) {
    const std::string before = inject ? Dump() : "";
    injected_pool_ = kNoPool;
    countdown_ = twin_countdown_ = place;
    const absl::Status status = call(*ledger_);
    const PoolIndex injected = injected_pool_;
    if (injected == kNoPool ||
        status.ok()) {  // it ran: the twin has seen none of the other shortages
      const absl::Status twin = call(*twin_);
      Expect(twin.code() == status.code(), "the twin answers otherwise");
      countdown_ = twin_countdown_ = kNever;
      return status;
    }
    Expect(ShortageOf(status).has_value() && ShortageOf(status)->missing_blocks > 0,
           absl::StrCat("an injected shortage is not reported as one: ", status.ToString()));
    Expect(Dump() == before, "what failed changed something");
    ++counts_.injected;
    if (!fault_.empty()) return status;
  }
}

bool PrefixTrial::Injected(int& countdown, PoolIndex pool) {
  if (countdown-- != 0) return false;
  injected_pool_ = pool;
  return true;
}

// All that can be seen of the ledger.
std::string PrefixTrial::Dump() const {
  const Plan snapshot = *ledger_->Snapshot();
  std::string dump(reinterpret_cast<const char*>(snapshot.bytes().data()), snapshot.bytes().size());
  for (int p = 0; p < options_.geometry.num_pools; ++p) {
    const PoolUse use = UseOf(*ledger_, p);
    absl::StrAppend(&dump, use.free, " ", use.live, " ", use.cached, " ", use.draining, ";");
  }
  for (const auto& [key, sequence] : model_.sequences()) {
    const SequenceInfo info = *ledger_->Info({key.first, key.second});
    absl::StrAppend(&dump, info.length, " ", info.known, " ", info.published, ";");
  }
  const PrefixFigures f = ledger_->prefix_figures();
  absl::StrAppend(&dump, f.stored_chunks, " ", f.evicted_chunks, " ", f.stored_checkpoints, " ",
                  f.held_checkpoints, " ", f.missed_checkpoints);
  return dump;
}

bool PrefixTrial::Expect(bool condition, absl::string_view what) {
  if (!condition && fault_.empty()) fault_ = std::string(what);
  return condition;
}

}  // namespace terrace::testing
