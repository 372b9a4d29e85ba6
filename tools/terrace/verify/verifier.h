// Verifier reads rows of the current step back through GatherWindow, GatherTopK and GatherVisible,
// and compares every bit with what must be there (expected_rows.h). Entries that the store made of
// raw rows are compared with a reference in double precision (expected_entries.h).
//
// Stream: one wait a sampled step, for the copy to the host. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_VERIFIER_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_VERIFIER_H_

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/base/thread_pool.h"
#include "terrace/backend_buffer.h"
#include "terrace/model.h"
#include "terrace/store.h"
#include "tools/terrace/contents/compressor_weights.h"
#include "tools/terrace/trace/prefix_keys.h"
#include "tools/terrace/verify/expected_rows.h"
#include "tools/terrace/verify/sampler.h"

namespace terrace::tools {

using internal::ThreadPool;

struct VerifierOptions {
  double rate = 0.1;  // share of the steps that are sampled
  uint64_t seed = 1;
  bool store_whole_chunk = false;  // as the ledger's
};

struct VerifierStats {
  int64_t sampled_steps = 0;
  int64_t verified_rows = 0;       // compared with contents; the sum of verified_by_class
  int64_t absent_rows = 0;         // where nothing is stored: compared with zero
  int64_t corrupt_rows = 0;        // of both
  int64_t verified_entries = 0;    // of the verified rows, held against a reference
  double largest_entry_error = 0;  // of those, in units of what is tolerated
  std::array<int64_t, kNumRowClasses> verified_by_class = {};
  std::vector<std::string> first_corrupt;  // a line each, at most kMostReported
  static constexpr size_t kMostReported = 5;

  VerifierStats& operator+=(const VerifierStats& other);
};

class Verifier {
 public:
  static constexpr int32_t kTopK = 64;
  static constexpr int32_t kMostVisible = 64;
  // Instead of those, where entries are compressed: a reference takes up to a millisecond.
  static constexpr int32_t kMostReferences = 12;

  // All but the options are borrowed. rope_tables: one a ModelSpec::ropes, [positions, 64].
  // Errors: ResourceExhausted from the backend.
  static absl::StatusOr<std::unique_ptr<Verifier>> Create(
      Store* store, const ModelSpec& model, const PrefixKeys* keys,
      absl::Span<const std::vector<float>> rope_tables, const CompressorWeights* weights,
      ThreadPool* threads, const VerifierOptions& options);

  // After all layers of a step were written. On each sampled step one layer of every kind is read,
  // the next one each time.
  absl::Status CheckStep(absl::Span<const StepSequence> sequences, Stream stream);

  const VerifierStats& stats() const { return stats_; }

 private:
  // Layers that have the same full pool, or none.
  struct LayerKind {
    int32_t full_pool = -1;
    std::vector<int32_t> layers = {};
    int32_t layer = 0;       // that is read in this step
    int64_t entries_at = 0;  // first of this kind's chosen entries in chosen_
  };
  // Rows that one gather read.
  struct Read {
    int32_t layer = 0;
    ContentPlane plane = {};
    int64_t first = 0;                                  // of expected_
    int64_t begin = 0;                                  // element of out_
    int32_t channels = 0;                               // of a row
    int64_t count = 0;                                  // rows
    const CompressorWeights::Plane* weights = nullptr;  // of compressed entries
  };

  Verifier(Store* store, const ModelSpec& model, const PrefixKeys* keys,
           absl::Span<const std::vector<float>> rope_tables, const CompressorWeights* weights,
           ThreadPool* threads, const VerifierOptions& options);
  absl::Status Build();
  absl::Status Choose(absl::Span<const StepSequence> sequences, Stream stream);
  absl::Status ReadWindow(int32_t layer, absl::Span<const StepSequence> sequences, Stream stream);
  absl::Status ReadTopK(const LayerKind& kind, PlaneKind plane,
                        absl::Span<const StepSequence> sequences, Stream stream);
  absl::Status ReadVisible(const LayerKind& kind, PlaneKind plane,
                           absl::Span<const StepSequence> sequences, Stream stream);
  Queries Asked() const;
  // Begins a read of `rows` rows a query; says where they go.
  RowsOut StartRead(int32_t layer, int32_t pool, PlaneKind plane, int32_t rows);
  void Expect(const SampledQuery& query, const StepSequence& part, int32_t position,
              RowClass row_class);
  void ExpectNothing(const SampledQuery& query, int32_t position);
  // Entry -1: nothing.
  void ExpectEntry(const SampledQuery& query, const StepSequence& part, int32_t entry);
  // Entries that one query reads of a layer's pool, at most `most`.
  int32_t EntriesPerQuery(const LayerKind& kind, int32_t most) const;
  absl::Status Compare(absl::Span<const StepSequence> sequences, Stream stream);
  // Rows begin .. end - 1 of a read. Mismatch::row is of expected_.   Thread-safe: yes.
  void CompareSome(const Read& read, absl::Span<const StepSequence> sequences, int64_t begin,
                   int64_t end, const uint16_t* rows, std::vector<Mismatch>* mismatches);
  std::string Describe(const Read& read, const ExpectedRow& row, const Mismatch& mismatch,
                       const StepSequence& part) const;

  Store* const store_;
  const ModelSpec& model_;
  const PrefixKeys& keys_;
  const absl::Span<const std::vector<float>> rope_tables_;
  const CompressorWeights& weights_;
  ThreadPool* const threads_;
  const VerifierOptions options_;
  Sampler sampler_;
  std::vector<LayerKind> kinds_;
  VerifierStats stats_;

  // The step that is being checked.
  std::vector<SampledQuery> queries_;
  std::vector<int32_t> chosen_;  // token rows [queries], then entries [kinds, queries, kTopK]
  std::vector<Read> reads_;
  std::vector<ExpectedRow> expected_;
  int64_t out_used_ = 0;  // elements
  BackendBuffer<int32_t> device_chosen_;
  BackendBuffer<uint16_t> out_;
  std::vector<uint16_t> downloaded_;  // cuda
  std::mutex mutex_;                  // of what several threads find
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_VERIFIER_H_
