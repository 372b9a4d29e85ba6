// RowSource makes the rows that a replay writes, where the store's backend can read them: on the
// host a layer at a time into one buffer, on a GPU all layers in one launch into a buffer each.
//
// Stream: all calls of a step are ordered on the stream they are given. Thread-safe: no.

#ifndef TERRACE_CLI_ROW_SOURCE_H_
#define TERRACE_CLI_ROW_SOURCE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "cli/backend_memory.h"
#include "cli/fill_rows.h"
#include "cli/prefix_keys.h"
#include "cli/scheduler.h"
#include "src/thread_pool.h"
#include "terrace/model.h"
#include "terrace/store.h"

namespace terrace {

class RowSource {
 public:
  // All are borrowed.   Errors: ResourceExhausted from the backend.
  static absl::StatusOr<std::unique_ptr<RowSource>> Create(Store* store, const ModelSpec& model,
                                                           const PrefixKeys* keys,
                                                           ThreadPool* threads);

  // Once a step, after Store::Begin.
  absl::Status BeginStep(absl::Span<const StepLane> lanes, Stream stream);

  // What `layer` writes in this step. Valid until the next call.
  LayerRows RowsOf(int layer);

 private:
  // Segments of one layer, or -1; index into segments_.
  struct LayerSegments {
    int32_t swa = -1;
    int32_t entries = -1;
    int32_t indexer = -1;
  };

  RowSource(Store* store, const ModelSpec& model, const PrefixKeys* keys, ThreadPool* threads);
  absl::Status Build();
  absl::Status UploadKeys();
  int32_t AddSegment(const LayerPool& place, int32_t plane);
  RowsIn Filled(int32_t segment);

  Store* const store_;
  const ModelSpec& model_;
  const PrefixKeys& keys_;
  ThreadPool* const threads_;
  const bool on_host_;
  std::vector<LayerSegments> layers_;  // of the store's range
  std::vector<FillSegment> segments_;
  std::vector<ContentLane> content_lanes_;
  BackendMemory<ContentLane> lanes_;
  BackendMemory<uint64_t> prefix_keys_;
  BackendMemory<FillSegment> device_segments_;
  BackendMemory<uint16_t> rows_;
};

}  // namespace terrace

#endif  // TERRACE_CLI_ROW_SOURCE_H_
