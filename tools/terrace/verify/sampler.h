// Sampler chooses what a replay reads back: which queries of a step, and which entries of a query.
// It also says why: a row's class. Everything is a hash of a seed, so a run can be repeated.

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_SAMPLER_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "terrace/model.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/verify/expected_rows.h"

namespace terrace::tools {

struct SampledQuery {
  int32_t token_row = 0;       // of the step
  int32_t sequence_index = 0;  // index into the step's sequences
  int32_t position = 0;
};

class Sampler {
 public:
  static constexpr int32_t kMostQueries = 6;

  Sampler(const ModelSpec& model, double rate, uint64_t seed)
      : model_(model), rate_(rate), seed_(seed) {}

  // Moves to the next step. Whether it is to be sampled.
  bool NextStep();

  // The first and the last query of the step, and up to four more: any of a sequence taken by
  // chance, the first and last of one that had rows taken back, and the first of one that resumes
  // here.
  void PickQueries(absl::Span<const StepSequence> sequences, std::vector<SampledQuery>* queries);

  // Up to entries.size() entries that `query` sees, none twice, then -1. The oldest and the newest,
  // those next to the last rollback and to where the shared chunks end, one in those, and as many
  // on chunk borders as anywhere.
  void PickEntries(const PoolSpec& pool, const StepSequence& part, const SampledQuery& query,
                   absl::Span<int32_t> entries);

  RowClass ClassOfWindowRow(const PoolSpec& pool, const StepSequence& part,
                            const SampledQuery& query, int32_t position) const;
  RowClass ClassOfEntry(const PoolSpec& pool, const StepSequence& part, int32_t entry) const;

 private:
  // Uniform in 0 .. count - 1.
  int32_t Draw(int32_t count);

  const ModelSpec& model_;
  const double rate_;
  const uint64_t seed_;
  uint64_t step_ = 0;
  uint64_t draws_ = 0;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_SAMPLER_H_
