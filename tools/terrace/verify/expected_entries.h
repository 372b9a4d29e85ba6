// CompareEntries compares compressed entries that were read back with references. Those are
// computed anew from the raw rows of the tokens that an entry pools (reference_entry.h).

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ENTRIES_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ENTRIES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "terrace/formats/row_format.h"
#include "tools/terrace/contents/compressor_weights.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"
#include "tools/terrace/verify/expected_rows.h"

namespace terrace::tools {

// Entries of one plane of a layer.
struct EntrySource {
  RowFormat format = RowFormat::kBf16;
  const float* rope_table = nullptr;  // [positions, 64], null where rows are stored unrotated
  ContentPlane plane = {};
  const CompressorWeights::Plane* weights = nullptr;
};

// As CompareRows: appends a Mismatch for each row that differs from what is expected by more than
// is tolerated, or is not zero where nothing is stored. Returns the largest error, in units of what
// is tolerated.
// Thread-safe: yes, with a `mismatches` of its own.
double CompareEntries(const EntrySource& source, const PrefixKeys& keys,
                      absl::Span<const StepSequence> sequences,
                      absl::Span<const ExpectedRow> expected, const uint16_t* rows,
                      std::vector<Mismatch>* mismatches);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ENTRIES_H_
