// Write and WriteSlots: one launch for what a layer stores.

#include "src/base/status_macros.h"
#include "src/store/store_checks.h"
#include "src/store/store_impl.h"

namespace terrace::internal {

absl::Status StoreImpl::AddSegment(int layer_index, const LayerPages& row, int plane,
                                   const RowsIn& rows, const RowTargets& source,
                                   WriteParams* params) const {
  const PoolSpec& pool = model_.pools[row.pool];
  TERRACE_RETURN_IF_ERROR(CheckPlane(row, plane));
  if (!row.writes) {
    return Invalid("layer ", layer_index, " only reads pool ", pool.name,
                   ": another layer writes its rows");
  }
  const int32_t channels = LayoutOf(pool.planes[plane].format).channels;
  const int64_t pitch = rows.pitch == 0 ? channels : rows.pitch;
  if (pitch < channels || pitch % 8 != 0 || pitch > kMaxPitch) {
    return Invalid("pool ", pool.name, ": the pitch of the rows is ", pitch,
                   ", not a multiple of 8 in ", channels, "..", kMaxPitch);
  }
  if (!IsAligned(rows.data, 16)) {
    return Invalid("pool ", pool.name, ": the rows are not 16-byte aligned");
  }
  WriteSegment segment{};
  if (plane_spec(row, plane).rope_before_store && !rows.rotated) {
    TERRACE_ASSIGN_OR_RETURN(const RopeTableView rope, RopeOf(layer_index));
    if (source.positions == nullptr) {
      return Invalid("pool ", pool.name, ": rows rotate here, but their positions are null");
    }
    segment.rope = rope;
    segment.positions = source.positions;
  }
  if (source.max_rows == 0) return absl::OkStatus();
  segment.rows = static_cast<const uint16_t*>(rows.data);
  segment.row_pitch = pitch;
  segment.count = source.count;
  segment.max_rows = source.max_rows;
  segment.slots = source.slots;
  segment.of_step = source.of_step;
  segment.pages = PagesOf(row, plane);
  params->segments[params->num_segments++] = segment;
  return absl::OkStatus();
}

namespace {

// Rows to launch for: the step's, or the capacity that the caller asks for.
absl::StatusOr<int32_t> LaunchRows(int32_t capacity, int32_t step_rows, int64_t most) {
  if (capacity == 0) return step_rows;
  if (capacity < step_rows || capacity > most) {
    return Invalid("capacity is ", capacity, ", not in ", step_rows, "..", most,
                   " (the step's rows, the most of any step)");
  }
  return capacity;
}

}  // namespace

absl::Status StoreImpl::AddTokenRows(int layer_index, const RowsIn& rows,
                                     WriteParams* params) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer_index, PoolKind::kWindow));
  TERRACE_ASSIGN_OR_RETURN(const int32_t max_rows, LaunchRows(rows.capacity, step_.num_token_rows,
                                                              geometry_.max_step_tokens));
  return AddSegment(layer_index, row, 0, rows,
                    {.count = &view_.header->num_token_rows,
                     .max_rows = max_rows,
                     .slots = view_.slots[row.pool],
                     .positions = view_.token_position,
                     .of_step = true},
                    params);
}

absl::Status StoreImpl::AddEntryRows(int layer_index, int plane, const RowsIn& rows,
                                     WriteParams* params) const {
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer_index, PoolKind::kFull));
  TERRACE_ASSIGN_OR_RETURN(const int32_t max_rows,
                           LaunchRows(rows.capacity, step_.num_entry_rows[row.pool],
                                      MaxEntryRows(geometry_, PoolIndex(row.pool))));
  return AddSegment(layer_index, row, plane, rows,
                    {.count = &view_.header->num_entry_rows[row.pool],
                     .max_rows = max_rows,
                     .slots = view_.slots[row.pool],
                     .positions = view_.entry_position[row.pool],
                     .of_step = true},
                    params);
}

absl::Status StoreImpl::EnqueueWrite(const WriteParams& params, Stream stream) {
  if (params.num_segments == 0) return absl::OkStatus();
  return On(stream).Write(params, stream);
}

absl::Status StoreImpl::Write(int layer, const LayerRows& rows, Stream stream) {
  TERRACE_RETURN_IF_ERROR(CheckStepBegun());
  TERRACE_RETURN_IF_ERROR(CheckLayer(layer));
  WriteParams params{};
  params.counters = view_.counters;
  if (rows.swa.data != nullptr) {
    TERRACE_RETURN_IF_ERROR(AddTokenRows(layer, rows.swa, &params));
  }
  for (const PlaneKind plane : {PlaneKind::kLatent, PlaneKind::kIndexer}) {
    const RowsIn& plane_rows = plane == PlaneKind::kLatent ? rows.entries : rows.indexer;
    if (plane_rows.data == nullptr) continue;
    TERRACE_RETURN_IF_ERROR(AddEntryRows(layer, static_cast<int>(plane), plane_rows, &params));
  }
  TERRACE_RETURN_IF_ERROR(EnqueueWrite(params, stream));
  const Layer& place = LayerOf(layer);
  if (rows.swa.data != nullptr) MarkWritten(place.of(PoolKind::kWindow));
  if (rows.entries.data != nullptr) MarkWritten(place.of(PoolKind::kFull));
  return absl::OkStatus();
}

absl::Status StoreImpl::WriteSlots(int layer, PoolKind pool, PlaneKind plane, const RowsIn& rows,
                                   const SlotList& slots, Stream stream) {
  TERRACE_RETURN_IF_ERROR(torn_);
  TERRACE_ASSIGN_OR_RETURN(const LayerPages row, FindRow(layer, pool));
  TERRACE_RETURN_IF_ERROR(CheckSlots(slots));
  if (slots.count > 0 && rows.data == nullptr) return Invalid("the rows are null");
  WriteParams params{};
  params.counters = view_.counters;
  TERRACE_RETURN_IF_ERROR(AddSegment(
      layer, row, static_cast<int>(plane), rows,
      {.max_rows = slots.count, .slots = slots.slots, .positions = slots.positions}, &params));
  TERRACE_RETURN_IF_ERROR(EnqueueWrite(params, stream));
  if (plane == PlaneKind::kLatent && slots.count > 0) MarkWritten(row);
  return absl::OkStatus();
}

}  // namespace terrace::internal
