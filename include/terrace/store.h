// Store owns the pages of a range of layers in one backend's memory and moves rows in and out of
// them. It carries out plans and has no opinion about who may use a block.
//
//   Begin(plan) once a step, then per layer: Write, then any Translate..., Gather..., Pages.
//
// Rows are bf16. Token rows follow the plan's order; a full pool's rows are compact: the entries
// that close in the step, sequence by sequence, ascending. Counts come from the plan, where the
// kernels run, so a captured CUDA graph stays valid.
//
// Stream: every call is ordered on the caller's stream; none synchronizes or allocates. One stream
// at a time.
// Thread-safe: no; one call at a time, over all stores of one backend. A store shares nothing with a
// ledger, whose calls may run beside its own.
// Errors: InvalidArgument for a layer, plane, count, pitch, alignment or pointer that cannot be;
// nothing was enqueued then. Bad values on the device are skipped and counted (ReadCounters).

#ifndef TERRACE_STORE_H_
#define TERRACE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/backend.h"
#include "terrace/counters.h"
#include "terrace/formats/rope_table.h"
#include "terrace/geometry.h"
#include "terrace/model.h"
#include "terrace/page_view.h"
#include "terrace/plan.h"
#include "terrace/step_view.h"

namespace terrace {
namespace internal {
class StoreImpl;
}

struct StoreOptions {
  ModelSpec model;
  Geometry geometry;
  LayerRange layers = {};  // count 0 = all
  // Ledger::epoch() of the ledger to follow; none: that of the first plan that it begins.
  std::optional<uint64_t> epoch = std::nullopt;
};

// bf16 rows in the backend's memory, 16-byte aligned. Shape: [rows, channels].
struct RowsIn {
  const void* data = nullptr;
  int64_t pitch = 0;     // elements between rows, a multiple of 8; 0 = channels
  bool rotated = false;  // already rotated by the caller
  // Rows to launch for. 0: the current plan's. Larger, for a CUDA graph that is captured once and
  // replayed with plans of up to `capacity` rows: `data` must have room for `capacity` rows, and
  // rows past the plan's count are ignored.
  int32_t capacity = 0;
};

// What a layer stores in a step. What is left null is not written.
struct LayerRows {
  RowsIn swa = {};      // [token rows, 512]
  RowsIn entries = {};  // [closing entries, 512] of the layer's full pool: CSA or HCA
  RowsIn indexer = {};  // [closing entries, 128]
};

// How numbers of a caller's arrays are stored.
enum class FloatType : int32_t { kFloat32 = 0, kBf16 = 1 };

// What the compressor takes of one plane: its projections of the step's tokens, and its learned
// parameters. Memory of the backend, 16-byte aligned. With d channels (the latent 512, the indexer
// key 128), w is 2d where entries overlap (ratio 4), else d.
struct CompressPlaneIn {
  const void* kv = nullptr;           // [token rows, w] CompressInputs::rows
  const void* score = nullptr;        // [token rows, w] of the same type
  int64_t kv_pitch = 0;               // elements between rows, whole 16 bytes; 0 = w
  int64_t score_pitch = 0;            // the same
  const float* ape = nullptr;         // [ratio, w], added to the scores
  const void* norm_weight = nullptr;  // [d] CompressInputs::norm_weight
};

struct CompressInputs {
  CompressPlaneIn latent = {};
  CompressPlaneIn indexer = {};  // of a layer with an indexer plane; both planes or an error
  FloatType rows = FloatType::kFloat32;
  FloatType norm_weight = FloatType::kBf16;
  float eps = 1e-6f;     // of RMSNorm
  bool hadamard = true;  // transform the indexer key before it is stored
  // Token rows to launch for, as RowsIn::capacity; 0: the current plan's.
  int32_t capacity = 0;
};

// Which token rows of the step ask, at most max_step_tokens. Null and 0: all of them, in order. A
// row outside the step asks for nothing.
struct Queries {
  const int32_t* token_rows = nullptr;  // [count] in the backend's memory
  int32_t count = 0;
};

// Chosen entries of the layer's full pool, logical (0 = the sequence's first).
// Shape: [queries, k], int32.
struct TopK {
  const int32_t* entries = nullptr;  // -1 = none
  int64_t pitch = 0;                 // elements between queries; 0 = k
  int32_t k = 0;
};

// Raw slots of one plane, for callers with slot mappings of their own. Memory of the backend.
struct SlotList {
  const int32_t* slots = nullptr;      // [count]; -1: nothing is stored or read
  const int32_t* positions = nullptr;  // [count]; needed only where rows rotate
  int32_t count = 0;
};

// Shape: slots [queries, pitch], lengths [queries]. Slots beyond a query's rows are -1 up to a
// multiple of 64.
struct SlotsOut {
  int32_t* slots = nullptr;
  int64_t pitch = 0;           // elements; 0 = rows a query rounded up to a multiple of 64
  int32_t* lengths = nullptr;  // 1 + index of the last slot that is not -1; may be null
};

// Shape: [queries, rows, channels] bf16, 16-byte aligned. Rows without a slot are zero.
struct RowsOut {
  void* data = nullptr;
  int64_t row_pitch = 0;    // elements, a multiple of 8; 0 = channels
  int64_t query_pitch = 0;  // elements, a multiple of 8; 0 = rows * row_pitch
  bool rotate = false;      // rotate after load; for planes that store unrotated rows
};

enum class PlaneKind : int32_t { kLatent = 0, kIndexer = 1 };

class Store {
 public:
  // Allocates every pool (zero-filled), the block tables and the step buffers.
  // Errors: InvalidArgument for a geometry that does not match the model; ResourceExhausted from
  // the backend.
  static absl::StatusOr<std::unique_ptr<Store>> Create(const StoreOptions& options,
                                                       std::shared_ptr<Backend> backend);
  ~Store();

  // One table per ModelSpec::ropes, in the backend's memory, each with at least one position.
  // Needed before rows are rotated.
  absl::Status SetRopeTables(absl::Span<const RopeTableView> tables);

  // The global scale of a layer's latent rows, in formats that have one (HasGlobalScale); 1 until
  // set. None in the overlap pool.
  // Errors: FailedPrecondition once that layer's pool was written; InvalidArgument unless finite
  // and above 0.
  absl::Status SetGlobalScale(int layer, PoolKind pool, float scale);

  // Makes `plan` the current step: uploads it, patches the block tables, copies blocks, expands the
  // rows. Once a plan, in order of number. padded_token_rows: rows up to it read as "no token", for
  // batches padded to a captured size.
  // Errors: InvalidArgument for a plan that was moved from, of another geometry, or seen before.
  // FailedPrecondition for another epoch or where plans are missing in between: ask the ledger for a
  // Snapshot(), begin that, then the step that it was taken at or the next. FailedPrecondition too
  // for a step of another generation, and for an older one's snapshot: plans were abandoned
  // (Ledger::Abandon), so the next to begin is a newer snapshot. And for a step that was begun and
  // compressed before, also behind a snapshot: Compress folds in place. Nothing was enqueued then.
  // Any other error is the backend's, in the middle of the work: from then on every call that would
  // enqueue something is a FailedPrecondition, until a Snapshot() is begun.
  absl::Status Begin(const Plan& plan, Stream stream, int32_t padded_token_rows = 0);

  // Rotates, quantizes and scatters the rows of one layer in one launch.
  absl::Status Write(int layer, const LayerRows& rows, Stream stream);

  // Slots that each query reads: chosen entries, all it sees (at most max_entries), or its window
  // (window_tokens).
  absl::Status TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                             const SlotsOut& out, Stream stream);
  absl::Status TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                const SlotsOut& out, Stream stream);
  absl::Status TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                               Stream stream);

  // Makes the entries that close in the step of the model's kv and scores, in one launch: pools,
  // norms, rotates, quantizes and stores them in the layer's full pool. Brings the sequences' state
  // up to date for the next step. Once a layer and step, or the sequences' state is stale and
  // counted (Counters::stale_states), for models with state pools
  // (docs/formats.md section 5); others write finished entries. Prefill pieces, drafts and
  // rejections never change a bit of the result.
  // Errors: InvalidArgument too for a layer without a state pool; nothing was enqueued then.
  absl::Status Compress(int layer, const CompressInputs& inputs, Stream stream);

  // The same rows, read and dequantized.
  absl::Status GatherTopK(int layer, const Queries& queries, const TopK& top_k, const RowsOut& out,
                          Stream stream, PlaneKind plane = PlaneKind::kLatent);
  absl::Status GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                             const RowsOut& out, Stream stream,
                             PlaneKind plane = PlaneKind::kLatent);
  absl::Status GatherWindow(int layer, const Queries& queries, const RowsOut& out, Stream stream);

  // Rows by raw slot, outside any plan. Slots past the end are skipped and counted.
  absl::Status WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                          const SlotList& slots, Stream stream);
  absl::Status ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                         const RowsOut& out, Stream stream);

  // Copies whole blocks, all layers and planes. No block may be both a source and a destination.
  absl::Status CopyBlocks(absl::Span<const BlockCopy> copies, Stream stream);

  absl::StatusOr<PageView> Pages(int layer, PoolKind pool,
                                 PlaneKind plane = PlaneKind::kLatent) const;

  Counters ReadCounters() const;

  // Counts of the current step, and where its rows are expanded to (step_view.h), for a
  // caller's own kernels.
  const PlanHeader& step() const;
  const StepView& step_view() const;

  Backend& backend();
  const Geometry& geometry() const;
  LayerRange layers() const;
  int64_t memory_bytes() const;  // pools and tables
  Stream stream() const;         // of the last call that enqueued something; memory goes back on it

 private:
  explicit Store(std::unique_ptr<internal::StoreImpl> impl);
  std::unique_ptr<internal::StoreImpl> impl_;
};

}  // namespace terrace

#endif  // TERRACE_STORE_H_
