#include "src/backend/host/host_rows.h"

#include <cstring>

#include "src/backend/host/host_counters.h"
#include "src/base/multiversion.h"
#include "src/ops/select.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_codec.h"

namespace terrace::internal {
namespace {

// Rows lie wherever their blocks do, so a row is asked for while the ones before it are worked on.
constexpr int kRowsAhead = 4;

template <RowFormat F, bool kForWriting>
TERRACE_HOST_DEVICE void Prefetch(const PlanePages& pages, int32_t slot) {
  constexpr int kCacheLine = 64;
  const RowAddress place = AddressOfRow<F>(pages, slot);
  for (int byte = 0; byte < LayoutOf(F).data_bytes; byte += kCacheLine) {
    __builtin_prefetch(place.data + byte, kForWriting);
  }
  __builtin_prefetch(place.scale, kForWriting);
}

TERRACE_HOST_DEVICE bool HasPosition(const RopeTableView& rope, int32_t position) {
  return position >= 0 && position < rope.positions;
}

TERRACE_HOST_DEVICE const float* RopeRow(const RopeTableView& rope, int32_t position) {
  return rope.data + int64_t{position} * kRopeChannels;
}

template <RowFormat F>
TERRACE_MULTIVERSION void WriteRows(const WriteSegment& segment, int64_t begin, int64_t end,
                                    Counters* raised) {
  for (int64_t row = begin; row < end; ++row) {
    if (row + kRowsAhead < end) {
      const int32_t next = segment.slots[row + kRowsAhead];
      if (next >= 0 && next < segment.pages.num_slots) Prefetch<F, true>(segment.pages, next);
    }
    const int32_t slot = segment.slots[row];
    if (slot < 0 || slot >= segment.pages.num_slots) {
      raised->skipped_slots += slot != kNoSlot;
      continue;
    }
    const float* rope = nullptr;
    if (segment.rope.data != nullptr) {
      const int32_t position = segment.positions[row];
      if (!HasPosition(segment.rope, position)) {
        ++raised->skipped_positions;
        continue;
      }
      rope = RopeRow(segment.rope, position);
    }
    const RowAddress place = AddressOfRow<F>(segment.pages, slot);
    raised->nonfinite_values += EncodeRow<F>(segment.rows + row * segment.row_pitch, rope,
                                             segment.pages.global_scale, place.data, place.scale);
  }
}

template <RowFormat F>
TERRACE_MULTIVERSION void GatherRows(const GatherParams& params, int64_t begin, int64_t end,
                                     Counters* raised) {
  constexpr int kChannels = LayoutOf(F).channels;
  const Selection& select = params.select;
  int32_t query = static_cast<int32_t>(begin / select.rows_per_query);
  int32_t row = static_cast<int32_t>(begin % select.rows_per_query);
  SelectedQuery selected = SelectQuery(select, query);
  for (int64_t i = begin; i < end; ++i, ++row) {
    if (row == select.rows_per_query) {
      row = 0;
      selected = SelectQuery(select, ++query);
    }
    if (row == 0 && select.kind == SelectKind::kVisible) {
      raised->truncated_queries += selected.visible > select.rows_per_query;
    }
    uint16_t* out = params.out + query * params.out_query_pitch + row * params.out_row_pitch;
    if (row + kRowsAhead < selected.rows) {
      const SelectedRow next = SelectRow(select, selected, query, row + kRowsAhead);
      if (next.slot >= 0) Prefetch<F, false>(params.pages, next.slot);
    }
    SelectedRow found = {kNoSlot, 0, false};
    if (row < selected.rows) found = SelectRow(select, selected, query, row);
    if (found.skipped) {
      ++(select.kind == SelectKind::kSlots ? raised->skipped_slots : raised->skipped_entries);
    }
    const float* rope = nullptr;
    if (found.slot >= 0 && params.rope.data != nullptr) {
      if (HasPosition(params.rope, found.position)) {
        rope = RopeRow(params.rope, found.position);
      } else {
        ++raised->skipped_positions;
        found.slot = kNoSlot;
      }
    }
    if (found.slot < 0) {
      std::memset(out, 0, kChannels * sizeof(uint16_t));
      continue;
    }
    const RowAddress place = AddressOfRow<F>(params.pages, found.slot);
    DecodeRow<F>(place.data, place.scale, rope, params.pages.global_scale, out);
  }
}

}  // namespace

void WriteHostRows(const WriteSegment& segment, int64_t begin, int64_t end, Counters* counters) {
  Counters raised;
  DispatchRowFormat(segment.pages.format,
                    [&]<RowFormat F>() { WriteRows<F>(segment, begin, end, &raised); });
  Raise(counters, raised);
}

void GatherHostRows(const GatherParams& params, int64_t begin, int64_t end) {
  Counters raised;
  DispatchRowFormat(params.pages.format,
                    [&]<RowFormat F>() { GatherRows<F>(params, begin, end, &raised); });
  Raise(params.select.counters, raised);
}

void TranslateHostQueries(const TranslateParams& params, int64_t begin, int64_t end) {
  const Selection& select = params.select;
  Counters raised;
  for (int32_t query = static_cast<int32_t>(begin); query < end; ++query) {
    const SelectedQuery selected = SelectQuery(select, query);
    int32_t* slots = params.slots + query * params.slots_pitch;
    int32_t length = 0;
    for (int32_t row = 0; row < selected.rows; ++row) {
      const SelectedRow found = SelectRow(select, selected, query, row);
      slots[row] = found.slot;
      if (found.slot != kNoSlot) length = row + 1;
      raised.skipped_entries += found.skipped;
    }
    for (int32_t row = selected.rows; row < params.padded_rows; ++row) slots[row] = kNoSlot;
    if (params.lengths != nullptr) params.lengths[query] = length;
    raised.truncated_queries +=
        select.kind == SelectKind::kVisible && selected.visible > select.rows_per_query;
  }
  Raise(select.counters, raised);
}

}  // namespace terrace::internal
