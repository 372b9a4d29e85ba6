#include "src/backend/host/host_rows.h"

#include <atomic>
#include <cstring>

#include "src/base/multiversion.h"
#include "src/ops/select.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_codec.h"

namespace terrace {
namespace {

void Raise(uint64_t& counter, uint64_t by) {
  if (by != 0) std::atomic_ref<uint64_t>(counter).fetch_add(by, std::memory_order_relaxed);
}

void Raise(Counters* counters, const Counters& by) {
  Raise(counters->nonfinite_values, by.nonfinite_values);
  Raise(counters->skipped_slots, by.skipped_slots);
  Raise(counters->skipped_entries, by.skipped_entries);
  Raise(counters->skipped_positions, by.skipped_positions);
  Raise(counters->truncated_queries, by.truncated_queries);
}

// Where the row of a slot lies.
template <typename Byte>
struct RowPlace {
  Byte* data;
  Byte* scale;
};

template <RowFormat F>
TERRACE_HOST_DEVICE RowPlace<uint8_t> PlaceOf(const PlanePages& pages, int32_t slot) {
  constexpr RowLayout kLayout = LayoutOf(F);
  const int64_t in_block = slot & ((1 << pages.log2_entries_per_block) - 1);
  uint8_t* page = pages.base + (slot >> pages.log2_entries_per_block) * pages.block_stride;
  return {page + in_block * kLayout.data_bytes,
          page + pages.scale_offset + in_block * kLayout.scale_bytes};
}

// Rows lie wherever their blocks do, so a row is asked for while the ones before it are worked on.
constexpr int kRowsAhead = 4;

template <RowFormat F, bool kForWriting>
TERRACE_HOST_DEVICE void Prefetch(const PlanePages& pages, int32_t slot) {
  constexpr int kCacheLine = 64;
  const RowPlace<uint8_t> place = PlaceOf<F>(pages, slot);
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
    const RowPlace<uint8_t> place = PlaceOf<F>(segment.pages, slot);
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
    const RowPlace<uint8_t> place = PlaceOf<F>(params.pages, found.slot);
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

}  // namespace terrace
