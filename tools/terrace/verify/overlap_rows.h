// OverlapRows stands in for the compressor's overlap rows at checkpoints. Where a plan captures
// them it fills the overlap block with a hash of the prefix that ends there. Where a plan restores
// them it reads the block and compares.
//
// Stream: a restore waits for its copy to the host. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_OVERLAP_ROWS_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_OVERLAP_ROWS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "terrace/plan.h"
#include "terrace/store.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"
#include "tools/terrace/verify/verifier.h"

namespace terrace::tools {

class OverlapRows {
 public:
  // Both are borrowed. A store without an overlap pool has nothing to do.
  OverlapRows(Store* store, const PrefixKeys* keys);

  // Once a step, after Store::Begin. A capture fills the pages of all layers. A restore compares
  // the page of one layer, the next one each time.
  absl::Status RunStep(const Plan& plan, absl::Span<const StepSequence> sequences, Stream stream);

  // Pages that were compared count as shared rows.
  const VerifierStats& stats() const { return stats_; }

 private:
  struct LayerPages {
    int32_t layer;
    PageView pages;
  };

  uint64_t SeedOf(int32_t sequence_index, int32_t position, int32_t layer) const;
  absl::Status Capture(absl::Span<const CheckpointRecord> checkpoints, Stream stream);
  absl::Status Check(const RestoreRecord& restore, Stream stream);

  Store* const store_;
  const PrefixKeys& keys_;
  std::vector<LayerPages> layers_;  // that have overlap pages
  std::vector<int32_t> requests_;   // [sequence indices] whose rows it holds
  std::vector<uint16_t> page_;      // scratch
  std::vector<uint16_t> found_;     // scratch
  int64_t restores_ = 0;
  VerifierStats stats_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_OVERLAP_ROWS_H_
