// Which sequences a scheduler's next step serves, and how many tokens of each.

#include <algorithm>

#include "src/base/status_macros.h"
#include "tools/terrace/contents/hash.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::tools {

absl::Status Scheduler::BuildBatch() {
  batch_.clear();
  int32_t budget = options_.step_tokens;
  const int32_t count = static_cast<int32_t>(running_.size());
  for (int32_t i = 0; i < count && budget > 0; ++i) {
    if (running_[i].unfed() != 1) continue;
    const int32_t drafts =
        std::max(0, std::min({options_.drafts, OutputLeft(running_[i]) - 1, budget - 1}));
    AddToBatch(i, 1 + drafts, drafts);
    budget -= 1 + drafts;
  }
  for (int32_t i = 0; i < count && budget > 0; ++i) {
    Running& sequence = running_[i];
    if (sequence.unfed() == 1) continue;
    TERRACE_RETURN_IF_ERROR(ExtendMatch(sequence));
    const int32_t tokens = std::min(budget, sequence.unfed());
    AddToBatch(i, tokens, 0);
    budget -= tokens;
  }
  return AdmitWaiting(budget);
}

// Shares what others published since. Rows that the sequence passes over are never fed.
absl::Status Scheduler::ExtendMatch(Running& sequence) {
  TERRACE_ASSIGN_OR_RETURN(const PrefixMatch match,
                           ledger_time_.Time([&] { return ledger_->ExtendMatch(sequence.id); }));
  if (match.matched == 0) return absl::OkStatus();
  TERRACE_ASSIGN_OR_RETURN(const SequenceInfo info, ledger_->Info(sequence.id));
  sequence.shared.write_from = info.write_from;
  if (info.length == sequence.length) return absl::OkStatus();
  sequence.length = info.length;
  sequence.shared.resumed_at = info.length;
  sequence.shared.window_from = match.skipped > 0 ? info.length : 0;
  return absl::OkStatus();
}

absl::Status Scheduler::AdmitWaiting(int32_t budget) {
  const size_t most = options_.serial ? 1 : options_.sequences;
  while (budget > 0 && admitting_ && running_.size() < most && !waiting_.empty()) {
    const int32_t index = waiting_.front();
    const TraceRequest& request = requests_[index];
    waiting_.pop_front();
    if (int64_t{request.input_length} + request.output_length >
        ledger_->geometry().max_context_tokens) {
      ++stats_.failed;
      continue;
    }
    const int32_t known = request.input_length + served_[index].generated;
    FillTokenIds(request, index, known, ids_);
    const absl::StatusOr<Admission> admitted = ledger_time_.Time([&] {
      return ledger_->AllocateSequence(
          {.tokens = ids_, .refeed = options_.refeed, .returning = served_[index].most_rows > 0});
    });
    if (const auto shortage = ShortageOf(admitted.status()); shortage && !shortage->retry_later) {
      ++stats_.failed;
      continue;
    }
    if (!admitted.ok()) return admitted.status();
    const PrefixMatch& match = admitted->match;
    running_.push_back({.request = index,
                        .sequence = next_sequence_++,
                        .id = admitted->id,
                        .length = admitted->length,
                        .known = known,
                        .shared = {.resumed_at = admitted->length,
                                   .write_from = match.matched,
                                   .window_from = match.skipped > 0 ? admitted->length : 0}});
    const int32_t tokens = std::min(budget, running_.back().unfed());
    AddToBatch(static_cast<int32_t>(running_.size()) - 1, tokens, 0);
    budget -= tokens;
  }
  return absl::OkStatus();
}

void Scheduler::AddToBatch(int32_t running, int32_t tokens, int32_t drafts) {
  const Running& sequence = running_[running];
  batch_.push_back({.running = running,
                    .part = {.request = sequence.request,
                             .sequence = sequence.sequence,
                             .first = sequence.length,
                             .count = tokens,
                             .drafts = drafts,
                             .accepted = Accepted(sequence, drafts),
                             .taken_back_begin = sequence.taken_back_begin,
                             .taken_back_end = sequence.taken_back_end,
                             .shared = sequence.shared}});
}

absl::StatusOr<Plan> Scheduler::AppendBatch() {
  appended_.clear();
  for (const BatchItem& item : batch_) {
    appended_.push_back(
        {.id = running_[item.running].id, .tokens = item.part.count, .drafts = item.part.drafts});
  }
  return ledger_time_.Time([&] { return ledger_->Append(appended_); });
}

int32_t Scheduler::OutputLeft(const Running& sequence) const {
  return requests_[sequence.request].output_length - served_[sequence.request].generated;
}

int32_t Scheduler::Accepted(const Running& sequence, int32_t drafts) const {
  int32_t accepted = 0;
  while (accepted < drafts) {
    const uint64_t position = sequence.length + 1 + accepted;
    const uint64_t hash = Mix(static_cast<uint64_t>(sequence.request), position);
    if (UnitInterval(hash) >= options_.acceptance) break;
    ++accepted;
  }
  return accepted;
}

}  // namespace terrace::tools
