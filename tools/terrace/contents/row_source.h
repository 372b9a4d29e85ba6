// RowSource makes the rows that a replay writes, where the store's backend can read them. On the
// host it makes a layer at a time into one buffer; on a GPU all layers in one launch, into a buffer
// each. It does not make entries that the store compresses (raw_rows.h).
//
// Stream: all calls of a step are ordered on the stream they are given. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_ROW_SOURCE_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_ROW_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/base/thread_pool.h"
#include "terrace/backend_buffer.h"
#include "terrace/model.h"
#include "terrace/store.h"
#include "tools/terrace/contents/compressor_weights.h"
#include "tools/terrace/contents/fill_rows.h"
#include "tools/terrace/contents/step_contents.h"

namespace terrace::tools {

using internal::ThreadPool;

class RowSource {
 public:
  // All are borrowed; `weights` for this call.   Errors: ResourceExhausted from the backend.
  static absl::StatusOr<std::unique_ptr<RowSource>> Create(Store* store, const ModelSpec& model,
                                                           const StepContents* contents,
                                                           const CompressorWeights& weights,
                                                           ThreadPool* threads);

  // Once a step, after StepContents::BeginStep.
  absl::Status BeginStep(Stream stream);

  // What `layer` writes in this step. Valid until the next call.
  LayerRows RowsOf(int layer);

 private:
  // Indices into segments_ of one layer's; -1 where it has none.
  struct LayerSegments {
    int32_t swa = -1;
    int32_t entries = -1;
    int32_t indexer = -1;
  };

  RowSource(Store* store, const ModelSpec& model, const StepContents* contents,
            ThreadPool* threads);
  absl::Status Build(const CompressorWeights& weights);
  int32_t AddSegment(const LayerPool& place, int32_t plane);
  RowsIn Filled(int32_t segment);

  Store* const store_;
  const ModelSpec& model_;
  const StepContents& contents_;
  ThreadPool* const threads_;
  const bool on_host_;
  std::vector<LayerSegments> layers_;  // of the store's range
  std::vector<FillSegment> segments_;
  BackendBuffer<FillSegment> device_segments_;
  BackendBuffer<uint16_t> rows_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_ROW_SOURCE_H_
