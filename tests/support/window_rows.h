// WindowRows writes window rows of every layer that are a function of layer, position and token id
// alone, and compares all that queries of a step read of them.

#ifndef TERRACE_TESTS_SUPPORT_WINDOW_ROWS_H_
#define TERRACE_TESTS_SUPPORT_WINDOW_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/row_codec.h"
#include "terrace/step.h"
#include "terrace/store.h"
#include "tests/support/backend_array.h"

namespace terrace::testing {

class WindowRows {
 public:
  using Ids = std::vector<int32_t>;

  WindowRows(const ModelSpec& model, Store& store) : model_(model), store_(store) {}

  // Of the plan that has begun. `ids[i]` spells the sequence of sequence step i.
  void Write(const Plan& plan, const std::vector<Ids>& ids) {
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      std::vector<uint16_t> rows;
      for (size_t i = 0; i < ids.size(); ++i) {
        const SequenceStep& part = plan.sequences()[i];
        for (int32_t t = part.first; t < part.first + part.count; ++t) {
          AppendRow(layer, t, ids[i][t], rows);
        }
      }
      BackendArray<uint16_t> array(store_.backend(), rows);
      const absl::Status status = store_.Write(
          static_cast<int>(layer), {.swa = {.data = array.data(), .rotated = true}}, Stream{});
      ASSERT_TRUE(status.ok()) << status;
    }
  }

  // Reads the windows of the first and the last query of each sequence in the step. Rows before
  // `window_from[i]` do not exist: a refeed began there.
  void Check(const Plan& plan, const std::vector<Ids>& ids,
             const std::vector<int32_t>& window_from) {
    std::vector<int32_t> queries;
    for (const SequenceStep& part : plan.sequences()) {
      queries.insert(queries.end(), {part.token_row, part.token_row + part.count - 1});
    }
    BackendArray<int32_t> asked(store_.backend(), queries);
    const int32_t count = static_cast<int32_t>(queries.size());
    const int32_t window = store_.geometry().window_tokens;
    BackendArray<uint16_t> out(store_.backend(), int64_t{count} * window * kLatentChannels);
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      const absl::Status status =
          store_.GatherWindow(static_cast<int>(layer), {.token_rows = asked.data(), .count = count},
                              {.data = out.data()}, Stream{});
      ASSERT_TRUE(status.ok()) << status;
      const std::vector<uint16_t> found = out.Read();
      for (int32_t q = 0; q < count; ++q) {
        const SequenceStep& part = plan.sequences()[q / 2];
        const int32_t position = part.first + (q % 2 == 0 ? 0 : part.count - 1);
        const auto row = found.begin() + int64_t{q} * window * kLatentChannels;
        CheckWindow(layer, part, position, ids[q / 2], window_from[q / 2], row);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
  int64_t checked() const { return checked_; }

 private:
  template <typename Row>
  void CheckWindow(size_t layer, const SequenceStep& part, int32_t position, const Ids& ids,
                   int32_t window_from, Row found) {
    const Geometry& geometry = store_.geometry();
    const int32_t end = part.first + part.count;
    // Of its own rows a step keeps those that a later one can see, drafts taken back or not.
    const int32_t kept = std::max(part.first, end - part.drafts - (geometry.window_tokens - 1));
    for (int32_t p = WindowBegin(geometry, position); p <= position; ++p) {
      std::vector<uint16_t> expected;
      const bool exists = p >= window_from && (p < part.first || p >= kept);
      exists ? AppendRow(layer, p, ids[p], expected) : expected.resize(kLatentChannels);
      if (exists) Decoded(expected);
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(), found))
          << "sequence index " << part.sequence_index << ", layer " << layer << ", the query at "
          << position << " of " << part.first << " to " << end - 1 << " reads another row " << p
          << (exists ? "" : " where none is");
      found += kLatentChannels;
      ++checked_;
    }
  }

  static void AppendRow(size_t layer, int32_t position, int32_t id, std::vector<uint16_t>& rows) {
    uint64_t x = (static_cast<uint64_t>(id) << 32 | static_cast<uint32_t>(position)) * 64 + layer;
    for (int i = 0; i < kLatentChannels; i += 8) {
      x = (x ^ (x >> 31)) * 0x94D049BB133111EBu + 0x9E3779B97F4A7C15u;
      for (int c = 0; c < 8; ++c) rows.push_back(0x3F00 | (x >> (8 * c) & 0x7F));
    }
  }

  // Makes of a row what is read back of it.
  void Decoded(std::vector<uint16_t>& row) const {
    const RowFormat format = model_.pools[WindowPool(model_).value()].planes[0].format;
    if (format == RowFormat::kBf16) return;
    std::vector<uint8_t> data(LayoutOf(format).data_bytes);
    std::vector<uint8_t> scale(LayoutOf(format).scale_bytes);
    DispatchRowFormat(format, [&]<RowFormat F>() {
      EncodeRow<F>(row.data(), nullptr, 1.0f, data.data(), scale.data());
      DecodeRow<F>(data.data(), scale.data(), nullptr, 1.0f, row.data());
    });
  }

  const ModelSpec& model_;
  Store& store_;
  int64_t checked_ = 0;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_WINDOW_ROWS_H_
