// What a scheduler does after a step: settle every sequence of it, and count.

#include <algorithm>

#include "src/base/status_macros.h"
#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::tools {

absl::Status Scheduler::Postprocess() {
  ids_.clear();
  for (BatchItem& item : batch_) {
    const StepSequence& part = item.part;
    const Running& sequence = running_[item.running];
    const bool prompt_done = part.first + part.count - part.drafts == sequence.known;
    if (prompt_done && OutputLeft(sequence) > 0) item.sampled = part.accepted + 1;
    item.finished = prompt_done && OutputLeft(sequence) == item.sampled;
    for (int32_t i = 0; i < item.sampled; ++i) {
      ids_.push_back(TokenId(requests_[part.request], part.request, sequence.known + i));
    }
  }
  TERRACE_RETURN_IF_ERROR(ledger_time_.Time([&] { return SettleWithLedger(); }));
  for (const BatchItem& item : batch_) UpdateRunning(item);
  std::erase_if(running_, [](const Running& sequence) { return sequence.finished; });
  return absl::OkStatus();
}

absl::Status Scheduler::SettleWithLedger() {
  const int32_t* ids = ids_.data();
  for (const BatchItem& item : batch_) {
    const SequenceId id = running_[item.running].id;
    absl::Status status;
    if (item.part.accepted < item.part.drafts) {
      status = ledger_->Truncate(id, item.part.keep_end());
    }
    if (item.sampled > 0) {
      status.Update(ledger_->Commit(id, absl::MakeConstSpan(ids, item.sampled)));
      ids += item.sampled;
    }
    if (item.finished) status.Update(ledger_->FreeSequence(id));
    TERRACE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

void Scheduler::UpdateRunning(const BatchItem& item) {
  const StepSequence& part = item.part;
  Running& sequence = running_[item.running];
  sequence.length = part.keep_end();
  sequence.fed = true;
  if (part.accepted < part.drafts) {
    sequence.taken_back_begin = sequence.length;
    sequence.taken_back_end = part.first + part.count;
  }
  sequence.known += item.sampled;
  sequence.finished = item.finished;

  Served& served = served_[part.request];
  served.generated += item.sampled;
  stats_.decode_tokens += item.sampled;
  const int32_t prompt = requests_[part.request].input_length;
  stats_.recomputed_tokens += std::max(0, std::min(sequence.length, served.most_rows) - part.first);
  stats_.prompt_tokens +=
      std::max(0, std::min(sequence.length, prompt) - std::min(served.most_rows, prompt));
  served.most_rows = std::max(sequence.length, served.most_rows);
  if (!item.finished) return;
  ++stats_.completed;
  loop_.Finished();
}

void Scheduler::CountStep() {
  int64_t tokens = 0;
  for (const StepSequence& part : sequences_) tokens += part.count;
  stats_.AddStep(sequences_, ledger_time_.Take());
  now_ms_ += options_.step_ms + 1000.0 * static_cast<double>(tokens) / options_.tokens_per_second;
  stats_.simulated_seconds = now_ms_ / 1000;
  stats_.matched_tokens = ledger_->prefix_figures().matched_tokens;
  if (options_.check_every > 0 && stats_.steps % options_.check_every == 0) {
    ledger_->CheckInvariants();
  }
}

absl::Status Scheduler::CountBlocks() {
  PoolCounts live = {};
  PoolCounts held = {};
  for (int pool = 0; pool < ledger_->geometry().num_pools; ++pool) {
    TERRACE_ASSIGN_OR_RETURN(const PoolUse use, ledger_->Use(PoolIndex(pool)));
    live[pool] = use.live;
    held[pool] = use.live + use.cached;
    stats_.peak_cached_blocks[pool] = std::max(stats_.peak_cached_blocks[pool], use.cached);
  }
  occupancy_.Add(now_ms_ / 1000, live, held);
  return absl::OkStatus();
}

}  // namespace terrace::tools
