// ServingLoop is a small engine around a Cache: continuous batching with chunked prefill, decodes
// with drafts, preemption by recomputation, and attention that reads its rows back from the cache.
// The rows that a model would compute are given with each request, so that a run can be checked.
//
// It serves layer 0 of a model whose entries are rows of single tokens: ratio 1, or the strided
// rule.

#ifndef TERRACE_EXAMPLES_SERVING_LOOP_H_
#define TERRACE_EXAMPLES_SERVING_LOOP_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "examples/attention.h"
#include "terrace/backend_buffer.h"
#include "terrace/cache.h"
#include "terrace/step.h"

namespace terrace::examples {

struct Request {
  int32_t prompt_tokens = 0;
  std::vector<int32_t> tokens;    // ids: the prompt's, then those that will be sampled
  std::vector<uint16_t> latents;  // [tokens, 512] bf16, unrotated
  std::vector<uint16_t> queries;  // [tokens, heads, 512] bf16, rotated

  int32_t heads() const {
    return static_cast<int32_t>(queries.size() / kLatentChannels / tokens.size());
  }
};

struct Result {
  std::vector<float> attention;        // [tokens, heads, 512]
  std::vector<uint16_t> last_entries;  // [entries, 512] what the last token's query read
};

struct ServingOptions {
  int32_t drafts = 0;        // guessed with every decoded token; some are right, some are wrong
  bool read_window = false;  // attend to the window's rows too; needs limits.store_whole_chunk
};

class ServingLoop {
 public:
  static absl::StatusOr<std::unique_ptr<ServingLoop>> Make(Cache& cache, ServingOptions options,
                                                           Stream stream);

  // Serves all requests to their last token.
  absl::StatusOr<std::vector<Result>> Run(absl::Span<const Request> requests);

  int preemptions() const { return preemptions_; }
  int steps() const { return steps_; }

 private:
  struct Waiting {
    size_t request;
    int32_t known;  // of its tokens: the prompt, or more after a preemption
  };
  struct Running {
    size_t request;
    SequenceId id;
    int32_t known;
    int32_t fed = 0;       // tokens with a row
    int32_t tokens = 0;    // of the current step, drafts included
    int32_t rejected = 0;  // of its drafts
  };

  ServingLoop(Cache& cache, ServingOptions options, Stream stream)
      : cache_(cache), options_(options), stream_(stream) {}

  absl::Status Admit();
  absl::Status Preempt();
  std::vector<StepRequest> NextBatch();
  absl::StatusOr<Plan> NextPlan();
  absl::Status WriteRows(const Plan& plan);
  absl::Status ReadAndAttend(const Plan& plan);
  absl::Status Settle();

  void AppendRow(const Running& running, int32_t token, std::vector<uint16_t>& rows) const;
  const PlaneSpec& LatentPlane(PoolIndex pool) const {
    return model().pools[pool.value()].planes[0];
  }
  const ModelSpec& model() const { return cache_.capacity().model; }

  Cache& cache_;
  const ServingOptions options_;
  const Stream stream_;
  const PoolIndex full_pool_ = FullPool(model(), 0);
  int32_t max_entries_ = 0;  // that a query can see
  std::optional<BackendBuffer<uint16_t>> latents_in_, entries_in_, entries_out_, window_out_;

  absl::Span<const Request> requests_;
  std::vector<Result> results_;
  std::deque<Waiting> waiting_;
  std::vector<Running> running_;
  std::vector<Running*> in_step_;  // in the order of the plan's sequences
  int preemptions_ = 0;
  int steps_ = 0;
};

inline absl::StatusOr<std::unique_ptr<ServingLoop>> ServingLoop::Make(Cache& cache,
                                                                      ServingOptions options,
                                                                      Stream stream) {
  auto loop = std::unique_ptr<ServingLoop>(new ServingLoop(cache, options, stream));
  const Geometry& geometry = cache.store().geometry();
  const int64_t tokens = geometry.max_step_tokens;
  loop->max_entries_ =
      EntriesClosed(geometry.pools[loop->full_pool_.value()], geometry.max_context_tokens);
  for (auto [array, rows] :
       {std::pair(&loop->latents_in_, tokens),
        std::pair(&loop->entries_in_, MaxEntryRows(geometry, loop->full_pool_)),
        std::pair(&loop->entries_out_, tokens * loop->max_entries_),
        std::pair(&loop->window_out_, tokens * geometry.window_tokens)}) {
    auto made =
        BackendBuffer<uint16_t>::Make(cache.store().backend(), rows * kLatentChannels, Stream{});
    if (!made.ok()) return made.status();
    array->emplace(*std::move(made));
  }
  return loop;
}

inline absl::StatusOr<std::vector<Result>> ServingLoop::Run(absl::Span<const Request> requests) {
  requests_ = requests;
  results_.assign(requests.size(), {});
  for (size_t i = 0; i < requests.size(); ++i) {
    results_[i].attention.resize(requests[i].queries.size());
    waiting_.push_back({i, requests[i].prompt_tokens});
  }
  while (!waiting_.empty() || !running_.empty()) {
    if (absl::Status status = Admit(); !status.ok()) return status;
    absl::StatusOr<Plan> plan = NextPlan();
    if (!plan.ok()) return plan.status();
    ++steps_;
    if (absl::Status status = cache_.Begin(*plan, stream_); !status.ok()) return status;
    if (absl::Status status = WriteRows(*plan); !status.ok()) return status;
    if (absl::Status status = ReadAndAttend(*plan); !status.ok()) return status;
    if (absl::Status status = Settle(); !status.ok()) return status;
  }
  return std::move(results_);
}

inline absl::Status ServingLoop::Admit() {
  const size_t sequences = cache_.ledger().geometry().max_sequences;
  while (!waiting_.empty() && running_.size() < sequences) {
    const Waiting next = waiting_.front();
    absl::StatusOr<Admission> sequence = cache_.AllocateSequence(
        {.tokens = absl::MakeConstSpan(requests_[next.request].tokens).first(next.known)});
    if (!sequence.ok()) return sequence.status();
    running_.push_back({.request = next.request,
                        .id = sequence->id,
                        .known = next.known,
                        .fed = sequence->length});
    waiting_.pop_front();
  }
  return absl::OkStatus();
}

// Gives back everything of the youngest sequence; it will be computed again.
inline absl::Status ServingLoop::Preempt() {
  const Running victim = running_.back();
  running_.pop_back();
  waiting_.push_front({victim.request, victim.known});
  ++preemptions_;
  return cache_.FreeSequence(victim.id);
}

// Of each sequence a piece of the tokens that it knows and has not fed; drafts where it decodes.
inline std::vector<StepRequest> ServingLoop::NextBatch() {
  std::vector<StepRequest> batch;
  in_step_.clear();
  int32_t budget = cache_.ledger().geometry().max_step_tokens;
  for (Running& sequence : running_) {
    sequence.tokens = std::min(sequence.known - sequence.fed, budget);
    if (sequence.tokens == 0) continue;
    const int32_t total = static_cast<int32_t>(requests_[sequence.request].tokens.size());
    const bool decodes = sequence.tokens == 1 && sequence.fed + 1 == sequence.known;
    const int32_t drafts =
        decodes ? std::min({options_.drafts, budget - 1, total - sequence.known}) : 0;
    sequence.tokens += drafts;
    sequence.rejected = (steps_ + static_cast<int32_t>(sequence.request)) % (drafts + 1);
    budget -= sequence.tokens;
    batch.push_back({sequence.id, sequence.tokens, drafts});
    in_step_.push_back(&sequence);
  }
  return batch;
}

inline absl::StatusOr<Plan> ServingLoop::NextPlan() {
  while (true) {
    absl::StatusOr<Plan> plan = cache_.Append(NextBatch());
    if (plan.ok()) return plan;
    // A smaller batch helps where a pool is short; a sequence alone that does not fit never will.
    if (!ShortageOf(plan.status()).has_value() || running_.size() == 1) return plan;
    if (absl::Status status = Preempt(); !status.ok()) return status;
  }
}

inline void ServingLoop::AppendRow(const Running& running, int32_t token,
                                   std::vector<uint16_t>& rows) const {
  if (token >= running.fed + running.tokens - running.rejected) {
    rows.insert(rows.end(), kLatentChannels, 0x4348);  // a wrong guess: 200 in every channel
    return;
  }
  const auto row = requests_[running.request].latents.begin() + int64_t{token} * kLatentChannels;
  rows.insert(rows.end(), row, row + kLatentChannels);
}

inline absl::Status ServingLoop::WriteRows(const Plan& plan) {
  const PoolGeometry& pool = cache_.store().geometry().pools[full_pool_.value()];
  std::vector<uint16_t> latents;
  std::vector<uint16_t> entries;
  for (size_t i = 0; i < plan.sequences().size(); ++i) {
    const SequenceStep& part = plan.sequences()[i];
    for (int32_t t = part.first; t < part.first + part.count; ++t) {
      AppendRow(*in_step_[i], t, latents);
    }
    const int32_t end = EntriesClosed(pool, part.first + part.count);
    for (int32_t e = EntriesClosed(pool, part.first); e < end; ++e) {
      AppendRow(*in_step_[i], e * pool.ratio, entries);
    }
  }
  if (absl::Status status = latents_in_->Upload(latents, stream_); !status.ok()) return status;
  LayerRows rows = {.swa = {.data = latents_in_->data()}};
  if (!entries.empty()) {
    if (absl::Status status = entries_in_->Upload(entries, stream_); !status.ok()) return status;
    rows.entries.data = entries_in_->data();
  }
  return cache_.Write(0, rows, stream_);
}

inline absl::Status ServingLoop::ReadAndAttend(const Plan& plan) {
  const Geometry& geometry = cache_.store().geometry();
  const int64_t queries = plan.header().num_token_rows;
  absl::Status status = cache_.GatherVisible(
      0, {}, max_entries_,
      {.data = entries_out_->data(), .rotate = !LatentPlane(full_pool_).rope_before_store},
      stream_);
  if (!status.ok()) return status;
  auto entries = entries_out_->Download(queries * max_entries_ * kLatentChannels, stream_);
  if (!entries.ok()) return entries.status();
  absl::StatusOr<std::vector<uint16_t>> window = std::vector<uint16_t>();
  if (options_.read_window) {
    status = cache_.GatherWindow(0, {},
                                 {.data = window_out_->data(),
                                  .rotate = !LatentPlane(WindowPool(model())).rope_before_store},
                                 stream_);
    if (!status.ok()) return status;
    window = window_out_->Download(queries * geometry.window_tokens * kLatentChannels, stream_);
    if (!window.ok()) return window.status();
  }

  int64_t query = 0;
  for (size_t i = 0; i < in_step_.size(); ++i) {
    const SequenceStep& part = plan.sequences()[i];
    const Request& request = requests_[in_step_[i]->request];
    Result& result = results_[in_step_[i]->request];
    for (int32_t t = part.first; t < part.first + part.count; ++t, ++query) {
      const auto first = entries->begin() + query * max_entries_ * kLatentChannels;
      std::vector<uint16_t> rows(
          first, first + EntriesVisible(geometry.pools[full_pool_.value()], t) * kLatentChannels);
      if (t + 1 == static_cast<int32_t>(request.tokens.size())) result.last_entries = rows;
      if (options_.read_window) {
        const auto oldest = window->begin() + query * geometry.window_tokens * kLatentChannels;
        rows.insert(rows.end(), oldest,
                    oldest + (t + 1 - WindowBegin(geometry, t)) * kLatentChannels);
      }
      for (int32_t head = 0; head < request.heads(); ++head) {
        const int64_t at = (int64_t{t} * request.heads() + head) * kLatentChannels;
        const std::vector<float> out =
            Attend(absl::MakeConstSpan(request.queries).subspan(at, kLatentChannels), rows);
        std::copy(out.begin(), out.end(), result.attention.begin() + at);
      }
    }
  }
  return absl::OkStatus();
}

// Takes the wrong drafts back, then gives the ids that became final and the one sampled after them.
inline absl::Status ServingLoop::Settle() {
  for (Running* sequence : in_step_) {
    const std::vector<int32_t>& tokens = requests_[sequence->request].tokens;
    sequence->fed += sequence->tokens - sequence->rejected;
    if (sequence->rejected > 0) {
      absl::Status status = cache_.Truncate(sequence->id, sequence->fed);
      if (!status.ok()) return status;
    }
    const int32_t total = static_cast<int32_t>(tokens.size());
    const int32_t known = std::max(sequence->known, std::min(sequence->fed + 1, total));
    if (known > sequence->known) {
      absl::Status status = cache_.Commit(
          sequence->id,
          absl::MakeConstSpan(tokens).subspan(sequence->known, known - sequence->known));
      if (!status.ok()) return status;
    }
    sequence->known = known;
    if (sequence->fed == total) {
      if (absl::Status status = cache_.FreeSequence(sequence->id); !status.ok()) return status;
    }
  }
  std::erase_if(running_, [this](const Running& sequence) {
    return sequence.fed == static_cast<int32_t>(requests_[sequence.request].tokens.size());
  });
  return absl::OkStatus();
}

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_SERVING_LOOP_H_
