// What a store must hold and answer, worked out the long way: rows by (sequence, entry, layer,
// plane) in a map, entries by enumerating tokens, bytes in an image of each pool laid out from
// docs/formats.md. Shares the row codecs with the store (they are tested against golden vectors),
// and none of its step arithmetic, tables or page placement.

#ifndef TERRACE_TESTS_SUPPORT_STORE_ORACLE_H_
#define TERRACE_TESTS_SUPPORT_STORE_ORACLE_H_

#include <array>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "terrace/formats/row_codec.h"
#include "terrace/model.h"
#include "terrace/plan.h"
#include "tests/support/store_scenario.h"

namespace terrace::testing {

using RowBits = std::vector<uint16_t>;  // bf16

// The row that `layer` gets for an entry in plan `version`: ordinary values, and now and then a NaN
// or an infinity.
inline RowBits RowContent(int64_t sequence, int32_t entry, int layer, int plane, uint64_t version) {
  uint64_t state = 0x9E3779B97F4A7C15;
  for (const uint64_t part :
       {uint64_t(sequence), uint64_t(entry), uint64_t(layer * 2 + plane), version}) {
    state = (state ^ part) * 0xD6E8FEB86659FD93;
    state ^= state >> 32;
  }
  RowBits row(plane == 0 ? kLatentChannels : kIndexerChannels);
  for (size_t i = 0; i < row.size(); ++i) {
    if (i % 4 == 0) state = state * 6364136223846793005u + 1442695040888963407u;
    const uint32_t bits = static_cast<uint32_t>(state >> (i % 4 * 12 + 16));
    row[i] = static_cast<uint16_t>((bits & 0x807F) | (118 + (bits >> 8 & 15)) << 7);
  }
  if (state % 32 == 0) row[state >> 20 & 127] = (state >> 19 & 1) != 0 ? 0x7FC1 : 0xFF80;
  return row;
}

// A row as bytes: data, then scale. Returns how many bad values were mended.
inline int EncodeContent(RowFormat format, const RowBits& row, const float* rope, float scale,
                         uint8_t* data_bytes, uint8_t* scale_bytes) {
  return DispatchRowFormat(format, [&]<RowFormat F>() {
    return EncodeRow<F>(row.data(), rope, scale, data_bytes, scale_bytes);
  });
}

inline RowBits DecodeContent(RowFormat format, const uint8_t* data_bytes,
                             const uint8_t* scale_bytes, const float* rope, float scale) {
  RowBits row(LayoutOf(format).channels);
  DispatchRowFormat(format, [&]<RowFormat F>() {
    DecodeRow<F>(data_bytes, scale_bytes, rope, scale, row.data());
  });
  return row;
}

// One pool's bytes in one store, written in the plainest way.
class PoolImage {
 public:
  PoolImage(const PoolSpec& pool, int32_t rows, int64_t blocks) : pool_(pool) {
    int64_t extent = 0;
    for (const PlaneSpec& plane : pool.planes) {
      plane_offset_.push_back(extent);
      const RowLayout layout = LayoutOf(plane.format);
      extent += RoundUp(pool.entries_per_block * (layout.data_bytes + layout.scale_bytes),
                        pool.page_align);
    }
    if (pool.kind == PoolKind::kOverlap) extent = RoundUp(pool.opaque_bytes, pool.page_align);
    if (pool.layout == PoolLayout::kBlockMajor) {
      block_stride_ = RoundUp(rows * extent, pool.block_align);
      row_stride_ = extent;
      bytes_.resize(blocks * block_stride_);
    } else {
      block_stride_ = RoundUp(extent, pool.block_align);
      row_stride_ = blocks * block_stride_;
      bytes_.resize(rows * row_stride_);
    }
  }

  uint8_t* Data(int32_t row, int plane, int64_t slot) {
    return Page(row, plane, slot) +
           slot % pool_.entries_per_block * LayoutOf(pool_.planes[plane].format).data_stride();
  }
  uint8_t* Scale(int32_t row, int plane, int64_t slot) {
    const RowLayout layout = LayoutOf(pool_.planes[plane].format);
    return Page(row, plane, slot) + layout.scale_offset(pool_.entries_per_block) +
           slot % pool_.entries_per_block * layout.scale_stride();
  }
  // Of an overlap pool.
  uint8_t* Opaque(int32_t row, int64_t block) {
    return bytes_.data() + block * block_stride_ + row * row_stride_;
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  uint8_t* Page(int32_t row, int plane, int64_t slot) {
    return bytes_.data() + slot / pool_.entries_per_block * block_stride_ + row * row_stride_ +
           plane_offset_[plane];
  }

  PoolSpec pool_;
  std::vector<int64_t> plane_offset_;
  int64_t block_stride_ = 0;
  int64_t row_stride_ = 0;
  std::vector<uint8_t> bytes_;
};

// Which rows exist, which of them a query reads, and in which blocks they lie.
class StepOracle {
 public:
  explicit StepOracle(const Scenario& scenario)
      : model_(scenario.model), geometry_(scenario.geometry) {}

  struct EntryRow {
    StepSequence part;
    int32_t entry;
  };

  void Advance(const TrafficStep& step) {
    for (const BlockPatch& patch : step.plan.patches()) {
      table_[{patch.pool, patch.sequence_index, patch.index}] = patch.block;
    }
    tokens_.clear();
    for (const StepSequence& part : step.sequences) {
      for (int32_t i = 0; i < part.count; ++i) tokens_.push_back({part, part.first + i});
    }
    for (size_t p = 0; p < model_.pools.size(); ++p) {
      closing_[p].clear();
      if (model_.pools[p].kind == PoolKind::kOverlap) continue;
      for (const EntryRow& token : tokens_) {
        const int32_t entry = EntryClosedBy(p, token.entry);
        if (entry < 0) continue;
        closing_[p].push_back({token.part, entry});
        version_[{token.part.sequence, p, entry}] = step.plan.number().value();
      }
    }
  }

  // Rows of the step as inputs have them: for a window pool every token, for a full pool the
  // entries that close.
  const std::vector<EntryRow>& Rows(int pool) const { return closing_[pool]; }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens_.size()); }

  // Whether the step stores that row; else a query of this step cannot read it either.
  bool IsStored(int pool, const StepSequence& part, int32_t entry) const {
    if (model_.pools[pool].kind == PoolKind::kFull || entry < part.first) return true;
    const int32_t length = part.first + part.count;
    return geometry_.store_whole_chunk != 0 || entry >= length - part.drafts - 127;
  }

  int32_t SlotOf(int pool, const StepSequence& part, int32_t entry) const {
    const int32_t per_block = model_.pools[pool].entries_per_block;
    return table_.at({pool, part.sequence_index, entry / per_block}) * per_block +
           entry % per_block;
  }

  uint64_t Version(int64_t sequence, int pool, int32_t entry) const {
    return version_.at({sequence, pool, entry});
  }

  // What query `token_row` reads, up to `most` rows, -1 where nothing is stored; all of it is not
  // longer than the query sees.
  std::vector<int32_t> Window(int pool, int32_t token_row) const {
    std::vector<int32_t> entries;
    if (!IsToken(token_row)) return entries;
    const EntryRow& token = tokens_[token_row];
    for (int32_t p = std::max(0, token.entry - 127); p <= token.entry; ++p) {
      entries.push_back(IsStored(pool, token.part, p) ? p : -1);
    }
    return entries;
  }

  int32_t NumVisible(int pool, int32_t token_row) const {
    int32_t visible = 0;
    if (!IsToken(token_row)) return visible;
    const PoolSpec& spec = model_.pools[pool];
    const int64_t last = spec.rule == EntryRule::kPooled ? spec.ratio - 1 : 0;
    while (visible * int64_t{spec.ratio} + last <= tokens_[token_row].entry) ++visible;
    return visible;
  }

  bool IsToken(int32_t token_row) const { return token_row >= 0 && token_row < num_tokens(); }
  const StepSequence& StepOf(int32_t token_row) const { return tokens_[token_row].part; }

 private:
  // -1: none.
  int32_t EntryClosedBy(int pool, int32_t position) const {
    const PoolSpec& spec = model_.pools[pool];
    const int32_t closing = spec.rule == EntryRule::kPooled ? position + 1 : position;
    if (closing % spec.ratio != 0) return -1;
    return position / spec.ratio;
  }

  ModelSpec model_;
  Geometry geometry_;
  std::map<std::tuple<int, int, int>, int32_t> table_;             // pool, sequence, index -> block
  std::map<std::tuple<int64_t, int, int32_t>, uint64_t> version_;  // sequence, pool, entry -> plan
  std::vector<EntryRow> tokens_;
  std::array<std::vector<EntryRow>, kMaxPools> closing_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_STORE_ORACLE_H_
