// ReferenceEntry is what an entry that the store compressed must be, in double precision, and how
// far a stored one may be from it. It follows the definition alone (docs/formats.md section 5) and
// uses none of the compressor's arithmetic, state or order of sums.

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_REFERENCE_ENTRY_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_REFERENCE_ENTRY_H_

#include <cstdint>

#include "absl/types/span.h"
#include "terrace/formats/row_format.h"
#include "tools/terrace/contents/compressor_weights.h"

namespace terrace::tools {

// How many tokens entry `entry` pools: 128; or 8, of which its first token is the fifth, and 4 for
// entry 0.
int32_t PooledTokens(int32_t ratio, int32_t entry);

// The entry before it is quantized, and how far one made in float32 and bf16 may be from it.
struct ReferenceEntry {
  double values[kLatentChannels];
  double slack[kLatentChannels];
};

// Pools, norms, rotates and transforms.
// Shape: seeds [PooledTokens], of the tokens' raw rows (raw_contents.h), ascending; rope [64], of
// the entry's first token, null where the format stores unrotated rows.
// Cost: some 20 ns a pooled token and channel.
void MakeReference(const CompressorWeights::Plane& weights, absl::Span<const uint64_t> seeds,
                   const float* rope, ReferenceEntry* entry);

struct EntryError {
  double largest = 0;        // of any channel, in units of what is tolerated there: right up to 1
  int32_t channel = 0;       // where
  int32_t num_channels = 0;  // that are beyond what is tolerated
};

// Of a row that was read back. Shape: row bf16, all channels of `format`.
EntryError ErrorOf(RowFormat format, const ReferenceEntry& entry, const uint16_t* row);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_REFERENCE_ENTRY_H_
