// What a scheduler does after a step: settle every sequence of it, and count.

#include <algorithm>

#include "tools/terrace/engine/scheduler.h"
#include "tools/terrace/trace/token_ids.h"

namespace terrace::tools {

// Takes back the rejected drafts, commits what was sampled and frees what is finished.
absl::Status Scheduler::Settle() {
  struct Outcome {
    int32_t length = 0;   // rows that stay
    int32_t sampled = 0;  // ids to commit
    bool finished = false;
  };
  std::vector<Outcome> outcomes(lanes_.size());
  ids_.clear();
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const StepSequence& part = lanes_[i];
    Running& sequence = running_[batch_running_[i]];
    Outcome& outcome = outcomes[i];
    outcome.length = part.keep_end();
    const bool prompt_done = part.first + part.count - part.drafts == sequence.known;
    if (prompt_done && OutputLeft(sequence) > 0) outcome.sampled = part.accepted + 1;
    outcome.finished = prompt_done && OutputLeft(sequence) == outcome.sampled;
    for (int32_t j = 0; j < outcome.sampled; ++j) {
      ids_.push_back(TokenId(requests_[part.request], part.request, sequence.known + j));
    }
  }

  absl::Status status = Timed([&] {
    const int32_t* ids = ids_.data();
    for (size_t i = 0; i < lanes_.size(); ++i) {
      const SequenceId id = batch_[i].id;
      absl::Status status;
      if (lanes_[i].accepted < lanes_[i].drafts) status = ledger_->Truncate(id, outcomes[i].length);
      if (outcomes[i].sampled > 0) {
        status.Update(ledger_->Commit(id, absl::MakeConstSpan(ids, outcomes[i].sampled)));
        ids += outcomes[i].sampled;
      }
      if (outcomes[i].finished) status.Update(ledger_->FreeSequence(id));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;

  for (size_t i = 0; i < lanes_.size(); ++i) {
    Running& sequence = running_[batch_running_[i]];
    const int32_t request = sequence.request;
    sequence.length = outcomes[i].length;
    sequence.fed = true;
    if (lanes_[i].accepted < lanes_[i].drafts) {
      sequence.taken_back_begin = sequence.length;
      sequence.taken_back_end = lanes_[i].first + lanes_[i].count;
    }
    sequence.known += outcomes[i].sampled;
    sequence.finished = outcomes[i].finished;
    generated_[request] += outcomes[i].sampled;
    stats_.decode_tokens += outcomes[i].sampled;
    int32_t& most_rows = most_rows_[request];
    const int32_t prompt = requests_[request].input_length;
    stats_.recomputed_tokens += std::max(0, std::min(sequence.length, most_rows) - lanes_[i].first);
    stats_.prompt_tokens +=
        std::max(0, std::min(sequence.length, prompt) - std::min(most_rows, prompt));
    most_rows = std::max(sequence.length, most_rows);
    if (sequence.finished) {
      ++stats_.completed;
      admitting_ = true;
    }
  }
  running_.erase(std::remove_if(running_.begin(), running_.end(),
                                [](const Running& sequence) { return sequence.finished; }),
                 running_.end());
  return absl::OkStatus();
}

void Scheduler::CountStep() {
  int64_t tokens = 0;
  int64_t prefill = 0;
  for (const StepSequence& part : lanes_) {
    tokens += part.count;
    if (part.count - part.drafts > 1) prefill += part.count;
    stats_.drafts += part.drafts;
    stats_.rejected_drafts += part.drafts - part.accepted;
  }
  const int64_t sequences = static_cast<int64_t>(lanes_.size());
  const int64_t ledger_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(ledger_time_).count();
  ++stats_.steps;
  stats_.sequence_steps += sequences;
  if (prefill > 0) {
    stats_.ledger_prefill_ns += ledger_ns;
    stats_.prefill_tokens += prefill;
  } else {
    stats_.ledger_decode_ns += ledger_ns;
    stats_.decode_sequence_steps += sequences;
  }
  now_ms_ += options_.step_ms + 1000.0 * static_cast<double>(tokens) / options_.tokens_per_second;
  stats_.simulated_seconds = now_ms_ / 1000;
  if (options_.check_every > 0 && stats_.steps % options_.check_every == 0) {
    ledger_->CheckInvariants();
  }
}

void Scheduler::CountBlocks() {
  PoolCounts live = {};
  for (int pool = 0; pool < ledger_->geometry().num_pools; ++pool) {
    const PoolUse use = ledger_->Use(pool);
    live[pool] = use.live;
    stats_.peak_cached_blocks[pool] = std::max(stats_.peak_cached_blocks[pool], use.cached);
  }
  occupancy_.Add(now_ms_ / 1000, live);
}

}  // namespace terrace::tools
