// ExpectedRow is what a row that was read back must be. It follows the definition of the cache
// alone, and none of the arithmetic that plans and kernels share. CompareRows makes the row again,
// passes it through the row format and compares every bit.

#ifndef TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ROWS_H_
#define TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ROWS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"

namespace terrace::tools {

// Why a row was sampled. A row of several classes counts in the first of them.
enum class RowClass : int32_t {
  kRollback = 0,  // of, or next to, positions that were or will be taken back
  kShared = 1,    // that the sequence did not write: of a shared chunk or a checkpoint
  kWindow = 2,    // oldest or newest row of a query's window, or where the stored rows begin
  kChunk = 3,     // first or last row of a chunk
  kBlock = 4,     // first or last row of a block
  kInterior = 5,
};
inline constexpr int kNumRowClasses = 6;

// "rollback", "shared", "window", "chunk", "block", "interior".
const char* RowClassName(RowClass row_class);

struct ExpectedRow {
  uint64_t seed = 0;  // of its contents; unused where it is absent
  int64_t at = 0;     // element where the row read back begins
  int32_t position = 0;
  int32_t sequence_index = 0;  // of the step
  RowClass row_class = RowClass::kInterior;
  bool absent = false;  // nothing is stored: it must read as zero
};

// Whether the window pool must hold the row of `position` for the queries of a step. It holds the
// last window before what the step may take back, or all rows of the prefill piece if those are
// stored. It holds no row that a match without checkpoint skipped.
bool MustHoldWindowRow(const ModelSpec& model, bool store_whole_chunk, const StepSequence& part,
                       int32_t position);

// Entries that a query at `position` may see, by the rule of docs/formats.md section 4.
int32_t EntriesInSight(const PoolSpec& pool, int32_t position);

// Key of the tokens of `sequence` up to `last`, whoever fed them.
uint64_t ExpectedKey(const PrefixKeys& keys, const StepSequence& part, int32_t last);

// The row of `sequence` in one plane whose first token is `position`, whoever wrote it.
uint64_t ExpectedSeed(const PoolSpec& pool, ContentPlane plane, const PrefixKeys& keys,
                      const StepSequence& part, int32_t position);

struct Mismatch {
  int64_t row = 0;       // index into the expected rows
  int32_t channels = 0;  // that differ
  int32_t channel = 0;   // the first of them; of a compressed entry the worst
  uint16_t found = 0;
  uint16_t expected = 0;
  double error = 0;  // of a compressed entry: of that channel, in units of what is tolerated
};

// How a row differs from what must be there: in no channels if it does not. The caller sets `row`.
Mismatch CompareRow(const uint16_t* found, const uint16_t* expected, int channels);

// Appends a Mismatch for each row that differs from what is expected. Each expected row is read at
// its `at` in `rows`.
// Shape: rope_table [positions, 64], null where the format stores unrotated rows.
// Thread-safe: yes, with a `mismatches` of its own.
void CompareRows(RowFormat format, const float* rope_table, absl::Span<const ExpectedRow> expected,
                 const uint16_t* rows, std::vector<Mismatch>* mismatches);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_VERIFY_EXPECTED_ROWS_H_
