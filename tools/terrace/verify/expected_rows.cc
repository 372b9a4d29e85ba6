#include "tools/terrace/verify/expected_rows.h"

#include <cstring>

#include "src/base/multiversion.h"
#include "terrace/formats/rope.h"
#include "terrace/formats/row_codec.h"

namespace terrace::tools {
namespace {

// Makes the row as it must come back: filled, rotated, encoded and decoded.
template <RowFormat F>
TERRACE_HOST_DEVICE void MakeExpected(const ExpectedRow& expected, const float* rope_table,
                                      uint16_t* row) {
  constexpr RowLayout kLayout = LayoutOf(F);
  if (expected.absent) {
    std::memset(row, 0, kLayout.channels * sizeof(uint16_t));
    return;
  }
  alignas(64) uint16_t input[kLayout.channels];
  alignas(64) uint8_t data[kLayout.data_bytes];
  alignas(64) uint8_t scale[kLayout.scale_bytes + 1];
  FillContent(expected.seed, kLayout.channels, input);
  const float* rope =
      rope_table == nullptr ? nullptr : rope_table + int64_t{expected.position} * kRopeChannels;
  EncodeRow<F>(input, rope, /*global_scale=*/1.0f, data, scale);
  DecodeRow<F>(data, scale, /*rope=*/nullptr, /*global_scale=*/1.0f, row);
}

template <RowFormat F>
TERRACE_MULTIVERSION void CompareRowsOf(const float* rope_table, const ExpectedRow* expected,
                                        int64_t count, const uint16_t* rows,
                                        std::vector<Mismatch>* mismatches) {
  constexpr int kChannels = LayoutOf(F).channels;
  alignas(64) uint16_t row[kChannels];
  for (int64_t i = 0; i < count; ++i) {
    MakeExpected<F>(expected[i], rope_table, row);
    const uint16_t* found = rows + expected[i].at;
    if (std::memcmp(found, row, sizeof(row)) == 0) continue;
    mismatches->push_back(CompareRow(found, row, kChannels));
    mismatches->back().row = i;
  }
}

}  // namespace

const char* RowClassName(RowClass row_class) {
  constexpr const char* kNames[kNumRowClasses] = {"rollback", "shared", "window",
                                                  "chunk",    "block",  "interior"};
  return kNames[static_cast<int>(row_class)];
}

bool MustHoldWindowRow(const ModelSpec& model, bool store_whole_chunk, const StepSequence& part,
                       int32_t position) {
  if (position < part.shared.window_from) return false;
  if (position < part.first || store_whole_chunk) return true;
  const int32_t shortest_length = part.first + part.count - part.drafts;
  return shortest_length - position < model.window_tokens;
}

int32_t EntriesInSight(const PoolSpec& pool, int32_t position) {
  return pool.rule == EntryRule::kPooled ? (position + 1) / pool.ratio : position / pool.ratio + 1;
}

uint64_t ExpectedKey(const PrefixKeys& keys, const StepSequence& part, int32_t last) {
  if (last < part.keep_end()) return keys.Of(part.request, last);
  return RejectedKey(keys.request(part.request).own, part.sequence, part.first);
}

uint64_t ExpectedSeed(const PoolSpec& pool, ContentPlane plane, const PrefixKeys& keys,
                      const StepSequence& part, int32_t position) {
  const int32_t last = LastTokenOf(pool.rule, pool.ratio, position);
  return ContentSeed(ExpectedKey(keys, part, last), position, plane);
}

Mismatch CompareRow(const uint16_t* found, const uint16_t* expected, int channels) {
  Mismatch mismatch;
  for (int channel = channels - 1; channel >= 0; --channel) {
    if (found[channel] == expected[channel]) continue;
    ++mismatch.channels;
    mismatch.channel = channel;
    mismatch.found = found[channel];
    mismatch.expected = expected[channel];
  }
  return mismatch;
}

void CompareRows(RowFormat format, const float* rope_table, absl::Span<const ExpectedRow> expected,
                 const uint16_t* rows, std::vector<Mismatch>* mismatches) {
  DispatchRowFormat(format, [&]<RowFormat F>() {
    CompareRowsOf<F>(rope_table, expected.data(), static_cast<int64_t>(expected.size()), rows,
                     mismatches);
  });
}

}  // namespace terrace::tools
