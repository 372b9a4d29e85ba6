// StoreDriver runs one store through the steps of a scenario: it writes rows whose contents only
// the oracle knows, reads them back by every operation, and compares values, slots, counters and
// the bytes of the pools.

#ifndef TERRACE_TESTS_SUPPORT_STORE_DRIVER_H_
#define TERRACE_TESTS_SUPPORT_STORE_DRIVER_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/store.h"
#include "tests/support/backend_array.h"
#include "tests/support/store_contents.h"
#include "tests/support/store_scenario.h"

namespace terrace::testing {

enum class ReadKind { kTopK, kVisible, kWindow };

inline constexpr uint16_t kUntouched = 0x5A5A;  // what outputs hold before a call

class StoreDriver {
 public:
  StoreDriver(const Scenario& scenario, LayerRange layers, std::shared_ptr<Backend> backend)
      : scenario_(scenario),
        layers_(layers),
        backend_(std::move(backend)),
        random_(scenario.seed + layers.first),
        held_(scenario, layers, random_) {
    auto store = Store::Create(
        {.model = scenario.model, .geometry = scenario.geometry, .layers = layers}, backend_);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    std::vector<RopeTableView> views;
    for (const std::vector<float>& rope : held_.ropes()) {
      ropes_.push_back(std::make_unique<BackendArray<float>>(*backend_, rope));
      views.push_back({ropes_.back()->data(), scenario.geometry.max_context_tokens});
    }
    EXPECT_TRUE(store_->SetRopeTables(views).ok());
    for (int l = layers.first; l < layers.first + layers.count; ++l) {
      for (const PoolKind kind : {PoolKind::kWindow, PoolKind::kFull}) {
        const auto place = held_.FindPlace(l, kind);
        if (!place.has_value() || held_.GlobalScale(*place, 0) == 1.0f) continue;
        EXPECT_TRUE(store_->SetGlobalScale(l, kind, held_.GlobalScale(*place, 0)).ok());
      }
    }
  }

  Store& store() { return *store_; }

  // One whole step: begin, write every layer, read some queries back.
  void Run(const TrafficStep& step) {
    held_.oracle().Advance(step);
    const int32_t tokens = held_.oracle().num_tokens();
    padded_ = Chance(random_, 50)
                  ? 0
                  : Draw(random_, tokens, std::min(tokens + 9, scenario_.geometry.max_step_tokens));
    const absl::Status begun = store_->Begin(step.plan, Stream{}, padded_);
    ASSERT_TRUE(begun.ok()) << begun;
    CheckExpansion();
    for (int l = layers_.first; l < layers_.first + layers_.count; ++l) {
      WriteLayer(l);
      ReadLayer(l);
      if (::testing::Test::HasFailure()) return;
    }
    CheckCounters();
  }

  // The bytes of every pool that has any.
  std::vector<std::vector<uint8_t>> PoolBytes() {
    std::vector<std::vector<uint8_t>> pools;
    for (int p = 0; p < scenario_.geometry.num_pools; ++p) {
      if (held_.NumRows(p) == 0) continue;
      const PoolKind kind = scenario_.model.pools[p].kind;
      absl::StatusOr<PageView> view = store_->Pages(held_.FirstWriter(p), kind);
      EXPECT_TRUE(view.ok()) << view.status();
      pools.push_back(DownloadArray<uint8_t>(*backend_, view->base, held_.image(p).bytes().size()));
    }
    return pools;
  }

  void CheckBytes() {
    const std::vector<std::vector<uint8_t>> pools = PoolBytes();
    size_t next = 0;
    for (int p = 0; p < scenario_.geometry.num_pools; ++p) {
      if (held_.NumRows(p) == 0) continue;
      const std::vector<uint8_t>& expected = held_.image(p).bytes();
      const auto [image, pool] =
          std::mismatch(expected.begin(), expected.end(), pools[next++].begin());
      ASSERT_TRUE(image == expected.end())
          << "pool " << p << " differs at byte " << image - expected.begin() << " of "
          << expected.size() << ": " << int{*pool} << ", not " << int{*image};
    }
  }

 private:
  using Place = StoreContents::Place;

  // The step's rows as other kernels find them.
  void CheckExpansion() {
    const StepView& view = store_->step_view();
    const int32_t tokens = held_.oracle().num_tokens();
    ASSERT_EQ(store_->step().num_token_rows, tokens);
    const auto records = DownloadArray<int32_t>(*backend_, view.token_record, padded_);
    const auto positions = DownloadArray<int32_t>(*backend_, view.token_position, padded_);
    for (int32_t row = tokens; row < padded_; ++row) {
      ASSERT_EQ(records[row], -1);
      ASSERT_EQ(positions[row], 0);
    }
    for (int p = 0; p < scenario_.geometry.num_pools; ++p) {
      const PoolSpec& pool = scenario_.model.pools[p];
      if (pool.kind == PoolKind::kOverlap) {
        ASSERT_EQ(view.slots[p], nullptr);
        continue;
      }
      const bool is_window = pool.kind == PoolKind::kWindow;
      const std::vector<StepOracle::EntryRow>& rows = held_.oracle().Rows(p);
      const int32_t count = static_cast<int32_t>(rows.size());
      const auto slots = DownloadArray<int32_t>(*backend_, view.slots[p],
                                                is_window ? std::max(padded_, count) : count);
      const auto first = DownloadArray<int32_t>(
          *backend_, is_window ? view.token_position : view.entry_position[p], count);
      for (int32_t r = 0; r < count; ++r) {
        const auto& [sequence_index, entry] = rows[r];
        const bool stored = held_.oracle().IsStored(p, sequence_index, entry);
        ASSERT_EQ(slots[r], stored ? held_.oracle().SlotOf(p, sequence_index, entry) : -1)
            << "row " << r;
        ASSERT_EQ(first[r], entry * pool.ratio) << "row " << r;
      }
      for (size_t r = count; r < slots.size(); ++r) ASSERT_EQ(slots[r], -1) << "row " << r;
    }
  }

  void WriteLayer(int layer) {
    std::vector<std::unique_ptr<BackendArray<uint16_t>>> inputs;
    LayerRows rows;
    for (const PoolKind kind : {PoolKind::kWindow, PoolKind::kFull}) {
      const std::optional<Place> place = held_.FindPlace(layer, kind);
      if (!place.has_value() || place->layer != layer) continue;
      const int planes = static_cast<int>(scenario_.model.pools[place->pool].planes.size());
      for (int plane = 0; plane < planes; ++plane) {
        RowsIn& in = kind == PoolKind::kWindow ? rows.swa
                     : plane == 0              ? rows.entries
                                               : rows.indexer;
        in = Input(*place, plane, &inputs);
      }
    }
    const absl::Status written = store_->Write(layer, rows, Stream{});
    ASSERT_TRUE(written.ok()) << written;
  }

  RowsIn Input(const Place& place, int plane,
               std::vector<std::unique_ptr<BackendArray<uint16_t>>>* inputs) {
    const std::vector<StepOracle::EntryRow>& rows = held_.oracle().Rows(place.pool);
    const int32_t channels = LayoutOf(held_.Plane(place, plane).format).channels;
    const int64_t pitch = channels + 8 * Draw(random_, 0, 2);
    const bool is_window = scenario_.model.pools[place.pool].kind == PoolKind::kWindow;
    const int64_t most = is_window ? scenario_.geometry.max_step_tokens
                                   : MaxEntryRows(scenario_.geometry, PoolIndex(place.pool));
    const int32_t count = static_cast<int32_t>(rows.size());
    const int32_t capacity =
        Chance(random_, 50) ? 0 : Draw(random_, count, std::min<int32_t>(most, count + 300));
    std::vector<uint16_t> bits(std::max(count, capacity) * pitch, kUntouched);
    const uint64_t version = store_->step().number;
    for (size_t r = 0; r < rows.size(); ++r) {
      const auto& [sequence_index, entry] = rows[r];
      const RowBits row = RowContent(sequence_index.sequence, entry, place.layer, plane, version);
      std::copy(row.begin(), row.end(), bits.begin() + r * pitch);
      if (!held_.oracle().IsStored(place.pool, sequence_index, entry)) continue;
      const int32_t slot = held_.oracle().SlotOf(place.pool, sequence_index, entry);
      PoolImage& image = held_.image(place.pool);
      const int32_t local = held_.LocalRow(place);
      expected_.nonfinite_values +=
          held_.Encode(place, plane, sequence_index, entry, image.Data(local, plane, slot),
                       image.Scale(local, plane, slot));
    }
    inputs->push_back(std::make_unique<BackendArray<uint16_t>>(*backend_, bits));
    return {.data = inputs->back()->data(),
            .pitch = pitch == channels && Chance(random_, 50) ? 0 : pitch,
            .rotated = held_.ComesRotated(place, plane, version),
            .capacity = capacity};
  }

  // A few token rows of the step, some of them out of it.
  std::vector<int32_t> SomeQueries() {
    const int32_t tokens = held_.oracle().num_tokens();
    std::vector<int32_t> queries = {0, tokens - 1};
    for (int i = Draw(random_, 0, 3); i > 0; --i) queries.push_back(Draw(random_, 0, tokens - 1));
    if (Chance(random_, 30)) queries.push_back(Draw(random_, tokens, tokens + 1000));
    if (Chance(random_, 10)) queries.push_back(-1);
    std::shuffle(queries.begin(), queries.end(), random_);
    return queries;
  }

  // What to read: of each query the entries it asks for, and the call's own arguments.
  struct Reading {
    ReadKind kind = ReadKind::kTopK;
    Place place;
    std::vector<int32_t> queries;  // token rows
    int32_t rows = 0;              // a query
    std::vector<int32_t> chosen;   // kTopK: [queries, pitch]
    int64_t chosen_pitch = 0;
    std::vector<std::vector<int32_t>> entries;  // of each query, -1 = nothing
    uint64_t skipped = 0;
    uint64_t truncated = 0;
  };

  Reading ChooseReading(ReadKind kind, const Place& place) {
    Reading reading;
    reading.kind = kind;
    reading.place = place;
    reading.queries = SomeQueries();
    reading.rows = kind == ReadKind::kWindow ? 128 : Draw(random_, 1, 90);
    reading.chosen_pitch = reading.rows + Draw(random_, 0, 3);
    for (const int32_t query : reading.queries) {
      if (kind == ReadKind::kWindow) {
        reading.entries.push_back(held_.oracle().Window(place.pool, query));
        continue;
      }
      const int32_t visible = held_.oracle().NumVisible(place.pool, query);
      std::vector<int32_t> entries;
      if (kind == ReadKind::kVisible) {
        reading.truncated += visible > reading.rows;
        for (int32_t e = 0; e < std::min(visible, reading.rows); ++e) entries.push_back(e);
      } else {
        for (int32_t r = 0; r < reading.chosen_pitch; ++r) {
          const int32_t percent = Draw(random_, 1, 100);
          int32_t entry = visible > 0 ? Draw(random_, 0, visible - 1) : visible;
          if (percent <= 8) entry = -1;
          if (percent > 96) entry = percent % 2 == 0 ? visible + percent : -percent;
          reading.chosen.push_back(entry);
          if (r >= reading.rows || !held_.oracle().IsToken(query)) continue;
          const bool seen = entry >= 0 && entry < visible;
          reading.skipped += !seen && entry != -1;
          entries.push_back(seen ? entry : -1);
        }
      }
      reading.entries.push_back(entries);
    }
    return reading;
  }

  void ReadLayer(int layer) {
    if (const std::optional<Place> window = held_.FindPlace(layer, PoolKind::kWindow)) {
      CheckTranslate(layer, ChooseReading(ReadKind::kWindow, *window));
      if (Chance(random_, 50)) CheckGather(layer, ChooseReading(ReadKind::kWindow, *window), 0);
    }
    const std::optional<Place> full = held_.FindPlace(layer, PoolKind::kFull);
    if (!full.has_value()) return;
    const int planes = static_cast<int>(scenario_.model.pools[full->pool].planes.size());
    for (const ReadKind kind : {ReadKind::kTopK, ReadKind::kVisible}) {
      CheckTranslate(layer, ChooseReading(kind, *full));
      for (int plane = 0; plane < planes; ++plane) {
        if (Chance(random_, 50)) CheckGather(layer, ChooseReading(kind, *full), plane);
      }
    }
  }

  void CheckTranslate(int layer, const Reading& reading) {
    const int32_t padded = (reading.rows + 63) / 64 * 64;
    const int64_t pitch = Chance(random_, 30) ? reading.rows : padded + Draw(random_, 0, 2);
    const int32_t count = static_cast<int32_t>(reading.queries.size());
    std::vector<int32_t> expected(count * pitch, kUntouched);
    std::vector<int32_t> expected_lengths(count, 0);
    for (int32_t q = 0; q < count; ++q) {
      int32_t* slots = expected.data() + q * pitch;
      std::fill(slots, slots + std::min<int64_t>(padded, pitch), -1);
      for (size_t r = 0; r < reading.entries[q].size(); ++r) {
        const int32_t entry = reading.entries[q][r];
        if (entry < 0) continue;
        slots[r] = held_.oracle().SlotOf(reading.place.pool,
                                         held_.oracle().StepOf(reading.queries[q]), entry);
        expected_lengths[q] = static_cast<int32_t>(r) + 1;
      }
    }
    BackendArray<int32_t> queries(*backend_, reading.queries);
    BackendArray<int32_t> chosen(*backend_, reading.chosen);
    BackendArray<int32_t> slots(*backend_, std::vector<int32_t>(expected.size(), kUntouched));
    BackendArray<int32_t> lengths(*backend_, std::vector<int32_t>(count, kUntouched));
    const Queries asked = {queries.data(), count};
    const SlotsOut out = {slots.data(), pitch, lengths.data()};
    absl::Status status;
    if (reading.kind == ReadKind::kTopK) {
      const TopK top_k = {chosen.data(), reading.chosen_pitch, reading.rows};
      status = store_->TranslateTopK(layer, asked, top_k, out, Stream{});
    } else if (reading.kind == ReadKind::kVisible) {
      status = store_->TranslateVisible(layer, asked, reading.rows, out, Stream{});
    } else {
      status = store_->TranslateWindow(layer, asked, out, Stream{});
    }
    ASSERT_TRUE(status.ok()) << status;
    Expect(reading);
    ASSERT_EQ(slots.Read(), expected) << "layer " << layer << " kind " << int(reading.kind);
    ASSERT_EQ(lengths.Read(), expected_lengths);
  }

  void CheckGather(int layer, const Reading& reading, int plane) {
    const Place& place = reading.place;
    const PlaneSpec& spec = held_.Plane(place, plane);
    const RowLayout layout = LayoutOf(spec.format);
    const int32_t count = static_cast<int32_t>(reading.queries.size());
    const bool rotate = !spec.rope_before_store && Chance(random_, 50);
    RowsOut out = {.row_pitch = layout.channels + 8 * Draw(random_, 0, 1), .rotate = rotate};
    out.query_pitch = reading.rows * out.row_pitch + 8 * Draw(random_, 0, 1);
    std::vector<uint16_t> expected(count * out.query_pitch, kUntouched);
    for (int32_t q = 0; q < count; ++q) {
      for (int32_t r = 0; r < reading.rows; ++r) {
        uint16_t* row = expected.data() + q * out.query_pitch + r * out.row_pitch;
        const std::vector<int32_t>& entries = reading.entries[q];
        const int32_t entry = r < static_cast<int32_t>(entries.size()) ? entries[r] : -1;
        if (entry < 0) {
          std::fill(row, row + layout.channels, uint16_t{0});
          continue;
        }
        uint8_t data[1024];
        uint8_t scale[32];
        held_.Encode(place, plane, held_.oracle().StepOf(reading.queries[q]), entry, data, scale);
        const RowBits bits = DecodeContent(spec.format, data, scale,
                                           rotate ? held_.RopeRow(layer, place, entry) : nullptr,
                                           held_.GlobalScale(place, plane));
        std::copy(bits.begin(), bits.end(), row);
      }
    }
    BackendArray<int32_t> queries(*backend_, reading.queries);
    BackendArray<int32_t> chosen(*backend_, reading.chosen);
    BackendArray<uint16_t> rows(*backend_, std::vector<uint16_t>(expected.size(), kUntouched));
    out.data = rows.data();
    const Queries asked = {queries.data(), count};
    const PlaneKind kind = static_cast<PlaneKind>(plane);
    absl::Status status;
    if (reading.kind == ReadKind::kTopK) {
      const TopK top_k = {chosen.data(), reading.chosen_pitch, reading.rows};
      status = store_->GatherTopK(layer, asked, top_k, out, Stream{}, kind);
    } else if (reading.kind == ReadKind::kVisible) {
      status = store_->GatherVisible(layer, asked, reading.rows, out, Stream{}, kind);
    } else {
      status = store_->GatherWindow(layer, asked, out, Stream{});
    }
    ASSERT_TRUE(status.ok()) << status;
    Expect(reading);
    const std::vector<uint16_t> found = rows.Read();
    const auto at = std::mismatch(expected.begin(), expected.end(), found.begin());
    ASSERT_TRUE(at.first == expected.end())
        << "layer " << layer << " plane " << plane << " kind " << int(reading.kind) << ": element "
        << at.first - expected.begin() << " is " << *at.second << ", not " << *at.first
        << "; rows of " << out.row_pitch << ", queries of " << out.query_pitch;
  }

  void Expect(const Reading& reading) {
    expected_.skipped_entries += reading.skipped;
    expected_.truncated_queries += reading.truncated;
  }

  void CheckCounters() {
    EXPECT_TRUE(backend_->Synchronize(Stream{}).ok());
    const Counters counters = store_->ReadCounters();
    EXPECT_EQ(counters.nonfinite_values, expected_.nonfinite_values);
    EXPECT_EQ(counters.skipped_entries, expected_.skipped_entries);
    EXPECT_EQ(counters.truncated_queries, expected_.truncated_queries);
    EXPECT_EQ(counters.skipped_slots, 0u);
    EXPECT_EQ(counters.skipped_positions, 0u);
  }

  Scenario scenario_;
  LayerRange layers_;
  std::shared_ptr<Backend> backend_;
  Random random_;
  StoreContents held_;
  std::unique_ptr<Store> store_;
  std::vector<std::unique_ptr<BackendArray<float>>> ropes_;
  Counters expected_;
  int32_t padded_ = 0;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_STORE_DRIVER_H_
