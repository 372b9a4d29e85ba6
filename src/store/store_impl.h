// Store::Impl: what a store holds, and the look-ups that its operations share. The operations are
// in store_begin.cc, store_write.cc, store_compress.cc and store_read.cc.
//
// Invariants:
//  (1) every pool that a layer of the range uses has memory for all rows that its layers write;
//  (2) the tables hold what every plan up to last_number_ of epoch_ said;
//  (3) step_ is the header that lies at view_.header.

#ifndef TERRACE_SRC_STORE_STORE_IMPL_H_
#define TERRACE_SRC_STORE_STORE_IMPL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "src/ops/compress_params.h"
#include "src/ops/pages.h"
#include "src/ops/select.h"
#include "src/ops/state_params.h"
#include "src/ops/write_params.h"
#include "terrace/store.h"

namespace terrace {

class Store::Impl {
 public:
  // Where a layer finds its rows in one pool; pool -1: it has no such pool.
  struct Row {
    int32_t pool = -1;
    int32_t row = 0;  // of this store's memory
    bool writes = false;
  };
  struct Layer {
    Row rows[kNumPoolKinds];  // by kind
    int32_t rope = 0;

    Row& row(PoolKind kind) { return rows[static_cast<int>(kind)]; }
    const Row& row(PoolKind kind) const { return rows[static_cast<int>(kind)]; }
  };
  struct PoolMemory {
    uint8_t* base = nullptr;
    PoolPages place;
    std::vector<float> global_scale;  // a row
    std::vector<bool> written;        // a row
  };

  Impl(const StoreOptions& options, LayerRange layers, std::shared_ptr<Backend> backend);
  ~Impl();

  // Finds the rows of every layer.
  // Errors: InvalidArgument where a layer reads what no layer of the range writes.
  absl::Status ResolveLayers();
  absl::Status Allocate();
  // Sets every block table to "no block".
  absl::Status ResetTables(Stream stream);
  // `copies` is memory of the backend.
  absl::Status EnqueueCopies(const BlockCopy* copies, int32_t count, Stream stream);
  // The compressor's part of Begin. `records` are the plan's, in the backend's memory.
  absl::Status EnqueueCaptureOverlap(const CheckpointRecord* records, int32_t count, Stream stream);
  absl::Status EnqueueRestoreState(const RestoreRecord* records, int32_t count, Stream stream);
  absl::Status CheckOrder(const Plan& plan) const;
  // Uploads `count` records to `offset` of the room for a plan, as many at a time as fit behind it,
  // and calls `enqueue(records in the backend's memory, how many)` for each piece.
  template <typename Record, typename Enqueue>
  absl::Status UploadInPieces(int64_t offset, const Record* records, int64_t count, Stream stream,
                              const Enqueue& enqueue);
  absl::Status CopyInPieces(int64_t offset, absl::Span<const BlockCopy> copies, Stream stream);

  absl::Status CheckLayer(int layer) const;
  // Errors: InvalidArgument for a layer outside the range, or one without such a pool.
  absl::StatusOr<Row> FindRow(int layer, PoolKind pool) const;
  absl::Status CheckPlane(const Row& row, int plane) const;
  // Errors: FailedPrecondition before SetRopeTables.
  absl::StatusOr<RopeTableView> RopeOf(int layer) const;
  absl::Status CheckStepBegun() const;
  PlanePages PagesOf(const Row& row, int plane) const;
  const PlaneSpec& plane_spec(const Row& row, int plane) const {
    return model_.pools[row.pool].planes[plane];
  }
  Layer& layer(int layer) { return layers_of_range_[layer - layers_.first]; }
  const Layer& layer(int layer) const { return layers_of_range_[layer - layers_.first]; }

  // Adds one plane's rows to a write. `slots` and `positions` hold what is expanded for them.
  struct RowSource {
    const int32_t* count = nullptr;  // in the backend's memory; null: max_rows
    int32_t max_rows = 0;
    const int32_t* slots = nullptr;
    const int32_t* positions = nullptr;
    bool of_step = false;  // what Begin wrote
  };
  absl::Status AddSegment(int layer, const Row& row, int plane, const RowsIn& rows,
                          const RowSource& source, WriteParams* params) const;
  absl::Status AddTokenRows(int layer, const RowsIn& rows, WriteParams* params) const;
  absl::Status AddEntryRows(int layer, int plane, const RowsIn& rows, WriteParams* params) const;
  absl::Status EnqueueWrite(const WriteParams& params, Stream stream);
  absl::Status CheckState(int layer, const Row& row, const Row& state, const Row& overlap) const;
  absl::Status AddCompressPlane(int layer, const Row& row, int plane, const CompressInputs& inputs,
                                CompressParams* params) const;
  StatePages StatePagesOf(const Row& row) const;
  PoolStatePages LayerPagesOf(int pool) const;
  CsaStateLayout CsaLayout() const;
  void MarkWritten(const Row& row) { pools_[row.pool].written[row.row] = true; }

  absl::StatusOr<Selection> Select(SelectKind kind, const Row& row, const Queries& queries,
                                   int32_t rows_per_query) const;
  absl::StatusOr<Selection> SelectTopK(int layer, const Queries& queries, const TopK& top_k) const;
  absl::StatusOr<Selection> SelectVisible(int layer, const Queries& queries,
                                          int32_t max_entries) const;
  absl::StatusOr<Selection> SelectWindow(int layer, const Queries& queries) const;
  absl::Status Translate(const absl::StatusOr<Selection>& select, const SlotsOut& out,
                         Stream stream);
  absl::Status Gather(int layer, const Row& row, int plane, const absl::StatusOr<Selection>& select,
                      const RowsOut& out, Stream stream);

  ModelSpec model_;
  Geometry geometry_;
  uint64_t fingerprint_;
  LayerRange layers_;
  std::shared_ptr<Backend> backend_;

  std::vector<Layer> layers_of_range_;
  std::array<PoolMemory, kMaxPools> pools_;
  std::vector<RopeTableView> ropes_;

  uint8_t* tables_ = nullptr;  // the plan, the step's rows and the block tables, in this order
  int64_t tables_bytes_ = 0;
  int64_t plan_bytes_ = 0;  // room for one plan
  int32_t* block_tables_ = nullptr;
  int64_t block_tables_entries_ = 0;
  StepView view_{};

  PlanHeader step_{};
  int32_t padded_token_rows_ = 0;  // at least the step's rows
  bool begun_ = false;
  uint64_t epoch_ = 0;
  uint64_t last_number_ = 0;
};

// Most elements between two rows or queries: times any number of rows it is still an int64.
inline constexpr int64_t kMaxPitch = int64_t{1} << 31;

// Status with parts joined into one line.
template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

template <typename T>
bool IsAligned(const T* pointer, uintptr_t bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

}  // namespace terrace

#endif  // TERRACE_SRC_STORE_STORE_IMPL_H_
