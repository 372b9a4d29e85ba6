// RawRows makes what a model would give the compressor: raw rows of a step's tokens, and weights.
// It makes a layer at a time, into buffers that all layers share.
//
// Stream: all calls of a step are ordered on the stream they are given. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_RAW_ROWS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_RAW_ROWS_H_

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
#include "tools/terrace/contents/fill_raw.h"
#include "tools/terrace/contents/step_contents.h"

namespace terrace::tools {

using internal::ThreadPool;

class RawRows {
 public:
  // All are borrowed; `weights` for this call.   Errors: ResourceExhausted from the backend.
  static absl::StatusOr<std::unique_ptr<RawRows>> Create(Store* store, const ModelSpec& model,
                                                         const StepContents* contents,
                                                         const CompressorWeights& weights,
                                                         ThreadPool* threads);

  // Compresses `layer`, if its entries are; once a step, after StepContents::BeginStep.
  absl::Status Compress(int layer, Stream stream);

 private:
  // A layer whose entries are compressed has one or two planes, any other none.
  struct Layer {
    RawSegment segment = {};
    CompressInputs inputs = {};
    std::vector<BackendBuffer<float>> weights;
  };

  RawRows(Store* store, const StepContents* contents, ThreadPool* threads)
      : store_(store), contents_(*contents), threads_(threads) {}
  absl::Status Build(const ModelSpec& model, const CompressorWeights& weights);
  absl::Status AddPlane(const CompressorWeights::Plane& weights, ContentPlane place, Layer* layer);
  absl::Status Fill(const RawSegment& segment, Stream stream);

  Store* const store_;
  const StepContents& contents_;
  ThreadPool* const threads_;
  std::vector<Layer> layers_;                 // of the store's range
  BackendBuffer<float> rows_[kMaxPlanes][2];  // [plane][kv, score]
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_RAW_ROWS_H_
