// StoreRunner carries out the steps of a replay with data. It makes the rows that a model would
// make, writes them through a store or lets the store compress them, and reads some of them back.
//
// Stream: all work is ordered on the default stream. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_STORE_RUNNER_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_STORE_RUNNER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/base/thread_pool.h"
#include "terrace/backend.h"
#include "terrace/backend_buffer.h"
#include "terrace/capacity.h"
#include "terrace/plan.h"
#include "terrace/store.h"
#include "tools/terrace/contents/compressor_weights.h"
#include "tools/terrace/contents/raw_rows.h"
#include "tools/terrace/contents/row_source.h"
#include "tools/terrace/contents/step_contents.h"
#include "tools/terrace/engine/replay.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"
#include "tools/terrace/verify/overlap_rows.h"
#include "tools/terrace/verify/verifier.h"

namespace terrace::tools {

using internal::ThreadPool;

class StoreRunner final : public StepRunner {
 public:
  // `options` is borrowed.
  // Errors: those of MakeBackend, ParseLayers and Store::Create.
  static absl::StatusOr<std::unique_ptr<StoreRunner>> Create(
      const CapacityPlan& capacity, absl::Span<const TraceRequest> requests,
      const ReplayOptions& options);

  absl::Status Run(const Plan& plan, absl::Span<const StepSequence> sequences) override;
  absl::Status Wait() override { return backend_->Synchronize(stream_); }

  const Store& store() const { return *store_; }
  Backend& backend() { return *backend_; }
  VerifierStats verified() const;

 private:
  StoreRunner(absl::Span<const TraceRequest> requests, const ReplayOptions& options);
  absl::Status Build(const CapacityPlan& capacity);
  absl::Status BuildSources();
  absl::Status MakeRopes(int32_t positions);

  const ReplayOptions& options_;
  const Stream stream_;
  const PrefixKeys keys_;
  ThreadPool threads_;
  std::shared_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
  std::vector<std::vector<float>> rope_tables_;
  std::vector<BackendBuffer<float>> device_ropes_;
  CompressorWeights weights_;
  std::unique_ptr<StepContents> contents_;
  std::unique_ptr<RowSource> rows_;
  // How entries and the state at checkpoints come about: made by the store, or stood in for.
  std::unique_ptr<RawRows> raw_;
  std::unique_ptr<OverlapRows> overlap_;
  std::unique_ptr<Verifier> verifier_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_STORE_RUNNER_H_
