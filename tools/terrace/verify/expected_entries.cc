#include "tools/terrace/verify/expected_entries.h"

#include <algorithm>

#include "terrace/formats/bf16.h"
#include "terrace/pool_kinds.h"
#include "tools/terrace/verify/reference_entry.h"

namespace terrace::tools {
namespace {

constexpr uint16_t kNothing[kLatentChannels] = {};  // what a row reads as where none is stored

// Seeds of the raw rows that the entry from `position` on is made of; how many.
int32_t SeedsOf(const EntrySource& source, const PrefixKeys& keys, const StepSequence& part,
                int32_t position, uint64_t* seeds) {
  const int32_t ratio = source.weights->ratio;
  const int32_t count = PooledTokens(ratio, position / ratio);
  const int32_t first = position + ratio - count;
  for (int32_t i = 0; i < count; ++i) {
    seeds[i] = ContentSeed(ExpectedKey(keys, part, first + i), first + i, source.plane);
  }
  return count;
}

}  // namespace

double CompareEntries(const EntrySource& source, const PrefixKeys& keys,
                      absl::Span<const StepSequence> sequences,
                      absl::Span<const ExpectedRow> expected, const uint16_t* rows,
                      std::vector<Mismatch>* mismatches) {
  double largest = 0;
  uint64_t seeds[kHcaRatio];
  ReferenceEntry entry;
  for (size_t i = 0; i < expected.size(); ++i) {
    const ExpectedRow& row = expected[i];
    const uint16_t* const found = rows + row.at;
    if (row.absent) {
      Mismatch mismatch = CompareRow(found, kNothing, source.weights->channels);
      mismatch.row = static_cast<int64_t>(i);
      if (mismatch.channels > 0) mismatches->push_back(mismatch);
      continue;
    }
    const int32_t count = SeedsOf(source, keys, sequences[row.sequence_index], row.position, seeds);
    const float* const rope = source.rope_table == nullptr
                                  ? nullptr
                                  : source.rope_table + int64_t{row.position} * kRopeChannels;
    MakeReference(*source.weights, absl::MakeConstSpan(seeds, count), rope, &entry);
    const EntryError error = ErrorOf(source.format, entry, found);
    largest = std::max(largest, error.largest);
    if (error.num_channels == 0) continue;
    mismatches->push_back(
        {.row = static_cast<int64_t>(i),
         .channels = error.num_channels,
         .channel = error.channel,
         .found = found[error.channel],
         .expected = Bf16FromFloat(static_cast<float>(entry.values[error.channel])),
         .error = error.largest});
  }
  return largest;
}

}  // namespace terrace::tools
