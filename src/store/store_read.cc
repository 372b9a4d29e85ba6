// Translate and Gather: the rows that the step's queries read, as slots or as bf16.

#include <algorithm>

#include "src/base/status_macros.h"
#include "src/ops/gather_params.h"
#include "src/ops/translate_params.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"
#include "terrace/units.h"

namespace terrace::internal {
namespace {

constexpr int32_t kSlotsMultiple = 64;  // consumers want whole tiles of slots

}  // namespace

// No query sees more entries than its context has tokens; an engine's fixed k may be more than a
// short context has.
int32_t StoreImpl::MaxRowsPerQuery() const {
  constexpr int32_t kFixed = 1 << 20;
  constexpr int32_t kMost = 1 << 30;  // rounded up it is still an int32
  return std::clamp(geometry_.max_context_tokens, kFixed, kMost);
}

absl::StatusOr<Selection> StoreImpl::Select(SelectKind kind, const LayerPages& row,
                                            const Queries& queries, int32_t rows_per_query) const {
  TERRACE_RETURN_IF_ERROR(CheckStepBegun());
  if (queries.count < 0 || queries.count > geometry_.max_step_tokens) {
    return Invalid("count of the queries is ", queries.count, ", not in 0..",
                   geometry_.max_step_tokens, " (max_step_tokens)");
  }
  if (!IsAligned(queries.token_rows, 4)) return Invalid("token_rows is not 4-byte aligned");
  Selection select{};
  select.kind = kind;
  SelectFromStep(geometry_, view_, row.pool, select);
  select.num_queries =
      queries.token_rows == nullptr && queries.count == 0 ? padded_token_rows_ : queries.count;
  select.rows_per_query = rows_per_query;
  select.query_rows = queries.token_rows;
  return select;
}

absl::StatusOr<Selection> StoreImpl::SelectTopK(int layer_index, const Queries& queries,
                                                const TopK& top_k) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer_index, PoolKind::kFull));
  if (top_k.k < 1 || top_k.k > MaxRowsPerQuery()) {
    return Invalid("k is ", top_k.k, ", not in 1..", MaxRowsPerQuery());
  }
  const int64_t pitch = top_k.pitch == 0 ? top_k.k : top_k.pitch;
  if (pitch < top_k.k || pitch > kMaxPitch) {
    return Invalid("the pitch of the entries is ", pitch, ", not in ", top_k.k, " (k)..",
                   kMaxPitch);
  }
  TERRACE_ASSIGN_OR_RETURN(Selection select, Select(SelectKind::kTopK, row, queries, top_k.k));
  if (top_k.entries == nullptr && select.num_queries > 0) return Invalid("the entries are null");
  if (!IsAligned(top_k.entries, 4)) return Invalid("the entries are not 4-byte aligned");
  select.entries = top_k.entries;
  select.entries_pitch = pitch;
  return select;
}

absl::StatusOr<Selection> StoreImpl::SelectVisible(int layer_index, const Queries& queries,
                                                   int32_t max_entries) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer_index, PoolKind::kFull));
  if (max_entries < 1 || max_entries > MaxRowsPerQuery()) {
    return Invalid("max_entries is ", max_entries, ", not in 1..", MaxRowsPerQuery());
  }
  return Select(SelectKind::kVisible, row, queries, max_entries);
}

absl::StatusOr<Selection> StoreImpl::SelectWindow(int layer_index, const Queries& queries) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer_index, PoolKind::kWindow));
  return Select(SelectKind::kWindow, row, queries, geometry_.window_tokens);
}

absl::Status StoreImpl::Translate(const Selection& select, const SlotsOut& out, Stream stream) {
  const int32_t rows = select.rows_per_query;
  const int64_t padded = RoundUp(rows, kSlotsMultiple);
  const int64_t pitch = out.pitch == 0 ? padded : out.pitch;
  if (pitch < rows || pitch > kMaxPitch) {
    return Invalid("the pitch of the slots is ", pitch, ", not in ", rows, " (rows a query)..",
                   kMaxPitch);
  }
  if (!IsAligned(out.slots, 4) || !IsAligned(out.lengths, 4)) {
    return Invalid("the slots or lengths are not 4-byte aligned");
  }
  if (select.num_queries == 0) return absl::OkStatus();
  if (out.slots == nullptr) return Invalid("the slots are null");
  return On(stream).Translate({.select = select,
                               .slots = out.slots,
                               .slots_pitch = pitch,
                               .padded_rows = static_cast<int32_t>(std::min(padded, pitch)),
                               .lengths = out.lengths},
                              stream);
}

absl::Status StoreImpl::Gather(int layer_index, const LayerPages& row, int plane,
                               const Selection& select, const RowsOut& out, Stream stream) {
  TERRACE_RETURN_IF_ERROR(CheckPlane(row, plane));
  GatherParams params{};
  params.select = select;
  params.pages = PagesOf(row, plane);
  const int32_t channels = LayoutOf(params.pages.format).channels;
  const int64_t rows = select.rows_per_query;
  params.out_row_pitch = out.row_pitch == 0 ? channels : out.row_pitch;
  const int64_t most_row_pitch = kMaxPitch / std::max<int64_t>(rows, 1);
  if (params.out_row_pitch < channels || params.out_row_pitch % 8 != 0 ||
      params.out_row_pitch > most_row_pitch) {
    return Invalid("row_pitch is ", params.out_row_pitch, ", not a multiple of 8 in ", channels,
                   "..", most_row_pitch, " for ", rows, " rows a query");
  }
  params.out_query_pitch = out.query_pitch == 0 ? rows * params.out_row_pitch : out.query_pitch;
  const int64_t span = rows == 0 ? 0 : (rows - 1) * params.out_row_pitch + channels;
  if (params.out_query_pitch < span || params.out_query_pitch % 8 != 0 ||
      params.out_query_pitch > kMaxPitch) {
    return Invalid("query_pitch is ", params.out_query_pitch, ", not a multiple of 8 in ", span,
                   "..", kMaxPitch);
  }
  if (!IsAligned(out.data, 16)) return Invalid("the rows are not 16-byte aligned");
  if (out.rotate) {
    if (plane_spec(row, plane).rope_before_store) {
      return Invalid("pool ", model_.pools[row.pool].name,
                     " stores rotated rows: they cannot be rotated again");
    }
    TERRACE_ASSIGN_OR_RETURN(const RopeTableView rope, RopeOf(layer_index));
    if (select.kind == SelectKind::kSlots && select.positions == nullptr && rows > 0) {
      return Invalid("rows rotate here, but their positions are null");
    }
    params.rope = rope;
  }
  if (select.num_queries == 0 || rows == 0) return absl::OkStatus();
  if (out.data == nullptr) return Invalid("the rows are null");
  params.out = static_cast<uint16_t*>(out.data);
  return On(stream).Gather(params, stream);
}

absl::Status StoreImpl::TranslateTopK(int layer, const Queries& queries, const TopK& top_k,
                                      const SlotsOut& out, Stream stream) {
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectTopK(layer, queries, top_k));
  return Translate(select, out, stream);
}

absl::Status StoreImpl::TranslateVisible(int layer, const Queries& queries, int32_t max_entries,
                                         const SlotsOut& out, Stream stream) {
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectVisible(layer, queries, max_entries));
  return Translate(select, out, stream);
}

absl::Status StoreImpl::TranslateWindow(int layer, const Queries& queries, const SlotsOut& out,
                                        Stream stream) {
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectWindow(layer, queries));
  return Translate(select, out, stream);
}

absl::Status StoreImpl::GatherTopK(int layer, const Queries& queries, const TopK& top_k,
                                   const RowsOut& out, Stream stream, PlaneKind plane) {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, PoolKind::kFull));
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectTopK(layer, queries, top_k));
  return Gather(layer, row, static_cast<int>(plane), select, out, stream);
}

absl::Status StoreImpl::GatherVisible(int layer, const Queries& queries, int32_t max_entries,
                                      const RowsOut& out, Stream stream, PlaneKind plane) {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, PoolKind::kFull));
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectVisible(layer, queries, max_entries));
  return Gather(layer, row, static_cast<int>(plane), select, out, stream);
}

absl::Status StoreImpl::GatherWindow(int layer, const Queries& queries, const RowsOut& out,
                                     Stream stream) {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, PoolKind::kWindow));
  TERRACE_ASSIGN_OR_RETURN(const Selection select, SelectWindow(layer, queries));
  return Gather(layer, row, 0, select, out, stream);
}

absl::Status StoreImpl::ReadSlots(int layer, PoolKind pool, PlaneKind plane, const SlotList& slots,
                                  const RowsOut& out, Stream stream) {
  TERRACE_RETURN_IF_ERROR(torn_);
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, pool));
  TERRACE_RETURN_IF_ERROR(CheckSlots(slots));
  Selection select{};  // one query that reads all of them
  select.kind = SelectKind::kSlots;
  SelectFromStep(geometry_, view_, row.pool, select);
  select.num_queries = 1;
  select.rows_per_query = slots.count;
  select.entries = slots.slots;
  select.entries_pitch = slots.count;
  select.positions = slots.positions;
  return Gather(layer, row, static_cast<int>(plane), select, out, stream);
}

}  // namespace terrace::internal
