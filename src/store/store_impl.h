// StoreImpl: what a store holds, and the look-ups that its operations share. store_create.cc makes
// it; the operations are in store_begin.cc, store_write.cc, store_compress.cc and store_read.cc.
//
// Invariants:
//  (1) every pool that a layer of the range uses has memory for all rows that its layers write;
//  (2) the tables hold what every plan up to last_number_ of epoch_ said, if torn_ is ok;
//  (3) step_ is the header that lies at view_.header, if torn_ is ok.

#ifndef TERRACE_SRC_STORE_STORE_IMPL_H_
#define TERRACE_SRC_STORE_STORE_IMPL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "src/backend/kernel_backend.h"
#include "src/ops/compress_params.h"
#include "src/ops/pages.h"
#include "src/ops/select.h"
#include "src/ops/state_params.h"
#include "src/ops/write_params.h"
#include "terrace/backend_buffer.h"
#include "terrace/store.h"

namespace terrace::internal {

// Where a layer finds its pages in one pool; pool -1: it has no such pool.
struct LayerPages {
  int32_t pool = -1;
  int32_t index = 0;  // among the layers whose pages this store has
  bool writes = false;
};

class StoreImpl {
 public:
  // As Store's.
  static absl::StatusOr<std::unique_ptr<StoreImpl>> Create(const StoreOptions& options,
                                                           std::shared_ptr<Backend> backend);
  ~StoreImpl();
  absl::Status SetRopeTables(absl::Span<const RopeTableView> tables);
  absl::Status SetGlobalScale(int layer, PoolKind pool, float scale);
  absl::Status Begin(const Plan& plan, Stream stream, int32_t padded_token_rows);
  absl::Status Write(int layer, const LayerRows& rows, Stream stream);
  absl::Status TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                             const SlotsOut& out, Stream stream);
  absl::Status TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                const SlotsOut& out, Stream stream);
  absl::Status TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                               Stream stream);
  absl::Status Compress(int layer, const CompressInputs& inputs, Stream stream);
  absl::Status GatherTopK(int layer, const Queries& queries, const TopK& top_k, const RowsOut& out,
                          Stream stream, PlaneKind plane);
  absl::Status GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                             const RowsOut& out, Stream stream, PlaneKind plane);
  absl::Status GatherWindow(int layer, const Queries& queries, const RowsOut& out, Stream stream);
  absl::Status WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                          const SlotList& slots, Stream stream);
  absl::Status ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                         const RowsOut& out, Stream stream);
  absl::Status CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream);
  absl::StatusOr<PageView> Pages(int layer, PoolKind pool, PlaneKind plane) const;
  const PlanHeader& step() const { return step_; }
  const StepView& step_view() const { return view_; }
  Backend& backend() const { return *backend_; }
  const Geometry& geometry() const { return geometry_; }
  LayerRange layers() const { return layers_; }
  int64_t memory_bytes() const;
  Stream stream() const { return stream_; }

 private:
  struct Layer {
    LayerPages pages[kNumPoolKinds];  // by kind
    int32_t rope = 0;

    LayerPages& of(PoolKind kind) { return pages[static_cast<int>(kind)]; }
    const LayerPages& of(PoolKind kind) const { return pages[static_cast<int>(kind)]; }
  };
  struct PoolMemory {
    BackendBuffer<uint8_t> bytes;
    uint8_t* base = nullptr;  // bytes.data()
    PoolPages place;
    std::vector<float> global_scale;  // a row
    std::vector<bool> written;        // a row
  };

  StoreImpl(const StoreOptions& options, LayerRange layers, std::shared_ptr<Backend> backend);

  // Where the kernels of a call on `stream` are enqueued.
  KernelBackend& On(Stream stream) {
    stream_ = stream;
    return *kernels_;
  }

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
  // Begin's own part, without any check.
  absl::Status EnqueueBegin(const Plan& plan, bool in_pieces, int32_t padded_token_rows,
                            Stream stream);
  // Uploads `count` records to `offset` of the room for a plan, as many at a time as fit behind it,
  // and calls `enqueue(records in the backend's memory, how many)` for each piece.
  template <typename Record, typename Enqueue>
  absl::Status UploadInPieces(int64_t offset, const Record* records, int64_t count, Stream stream,
                              const Enqueue& enqueue);
  absl::Status CopyInPieces(int64_t offset, absl::Span<const BlockCopy> copies, Stream stream);

  absl::Status CheckLayer(int layer) const;
  // Errors: InvalidArgument for a layer outside the range, or one without such a pool.
  absl::StatusOr<LayerPages> FindRow(int layer, PoolKind pool) const;
  absl::Status CheckPlane(const LayerPages& row, int plane) const;
  static absl::Status CheckSlots(const SlotList& slots);
  int32_t MaxRowsPerQuery() const;
  // Errors: FailedPrecondition before SetRopeTables.
  absl::StatusOr<RopeTableView> RopeOf(int layer) const;
  absl::Status CheckStepBegun() const;
  PlanePages PagesOf(const LayerPages& row, int plane) const;
  const PlaneSpec& plane_spec(const LayerPages& row, int plane) const {
    return model_.pools[row.pool].planes[plane];
  }
  Layer& LayerOf(int layer) { return layers_of_range_[layer - layers_.first]; }
  const Layer& LayerOf(int layer) const { return layers_of_range_[layer - layers_.first]; }

  // How many rows a write has, and where they go.
  struct RowTargets {
    const int32_t* count = nullptr;  // in the backend's memory; null: max_rows
    int32_t max_rows = 0;
    const int32_t* slots = nullptr;
    const int32_t* positions = nullptr;
    bool of_step = false;  // what Begin wrote
  };
  // Adds one plane's rows to a write.
  absl::Status AddSegment(int layer, const LayerPages& row, int plane, const RowsIn& rows,
                          const RowTargets& source, WriteParams* params) const;
  absl::Status AddTokenRows(int layer, const RowsIn& rows, WriteParams* params) const;
  absl::Status AddEntryRows(int layer, int plane, const RowsIn& rows, WriteParams* params) const;
  absl::Status EnqueueWrite(const WriteParams& params, Stream stream);
  absl::Status CheckState(int layer, const LayerPages& row, const LayerPages& state,
                          const LayerPages& overlap) const;
  absl::Status AddCompressPlane(int layer, const LayerPages& row, int plane,
                                const CompressInputs& inputs, CompressParams* params) const;
  StatePages StatePagesOf(const LayerPages& row) const;
  PoolStatePages LayerPagesOf(int pool) const;
  CsaStateLayout CsaLayout() const;
  void MarkWritten(const LayerPages& row) { pools_[row.pool].written[row.index] = true; }

  absl::StatusOr<Selection> Select(SelectKind kind, const LayerPages& row, const Queries& queries,
                                   int32_t rows_per_query) const;
  absl::StatusOr<Selection> SelectTopK(int layer, const Queries& queries, const TopK& top_k) const;
  absl::StatusOr<Selection> SelectVisible(int layer, const Queries& queries,
                                          int32_t max_entries) const;
  absl::StatusOr<Selection> SelectWindow(int layer, const Queries& queries) const;
  absl::Status Translate(const Selection& select, const SlotsOut& out, Stream stream);
  absl::Status Gather(int layer, const LayerPages& row, int plane, const Selection& select,
                      const RowsOut& out, Stream stream);

  ModelSpec model_;
  Geometry geometry_;
  uint64_t fingerprint_;
  LayerRange layers_;
  std::shared_ptr<Backend> backend_;
  KernelBackend* kernels_;  // backend_'s
  Stream stream_;           // of the last call that enqueued

  std::vector<Layer> layers_of_range_;
  std::array<PoolMemory, kMaxPools> pools_;
  std::vector<RopeTableView> ropes_;

  BackendBuffer<uint8_t> tables_bytes_;
  uint8_t* tables_ =
      nullptr;  // of tables_bytes_: the plan, the step's rows and the block tables, in this order
  int64_t plan_bytes_ = 0;  // room for one plan
  int32_t* block_tables_ = nullptr;
  int64_t block_tables_entries_ = 0;
  StepView view_{};

  PlanHeader step_{};
  int32_t padded_token_rows_ = 0;  // at least the step's rows
  bool begun_ = false;
  std::optional<uint64_t> epoch_;
  uint64_t last_number_ = 0;
  uint64_t captured_number_ = 0;  // of the last plan whose captures were enqueued
  uint64_t folded_number_ = 0;    // of the last step that Compress was called in
  absl::Status torn_;  // not ok from a Begin that failed half way until a snapshot is begun
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_STORE_STORE_IMPL_H_
