// RopeTables computes a model's rope tables and keeps them in a backend's memory.

#ifndef TERRACE_SRC_STORE_ROPE_TABLES_H_
#define TERRACE_SRC_STORE_ROPE_TABLES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/base/thread_pool.h"
#include "terrace/backend.h"
#include "terrace/backend_buffer.h"
#include "terrace/formats/rope_table.h"
#include "terrace/model.h"

namespace terrace::internal {

class RopeTables {
 public:
  // One table for each of ModelSpec::ropes: of `max_positions` positions where a layer uses it, of
  // one position where none does. Returns when the tables are in the backend's memory.
  // REQUIRES: the backend outlives the tables.
  // Errors: those of Backend::Allocate and Upload; nothing is left behind then.
  // Cost: about 1 us a position, divided over the threads of `pool`.
  static absl::StatusOr<RopeTables> Create(const ModelSpec& model, int32_t max_positions,
                                           Backend& backend, ThreadPool& pool);

  absl::Span<const RopeTableView> views() const { return views_; }
  // The memory goes back behind what is enqueued on `stream`.
  void set_stream(Stream stream) {
    for (BackendBuffer<float>& table : tables_) table.set_stream(stream);
  }

 private:
  std::vector<BackendBuffer<float>> tables_;
  std::vector<RopeTableView> views_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_STORE_ROPE_TABLES_H_
