// BlockTable is the host's block table of one pool: which block each sequence has at each index.
// What is read there is meaningful only where the sequence's record says so: what was freed is left
// behind, unread.

#ifndef TERRACE_SRC_LEDGER_BLOCK_TABLE_H_
#define TERRACE_SRC_LEDGER_BLOCK_TABLE_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/types/span.h"
#include "src/ledger/block_range.h"
#include "terrace/ids.h"

namespace terrace::internal {

class BlockTable {
 public:
  // From calloc, so that a table for the longest contexts costs resident memory only where
  // sequences have been.
  BlockTable(int32_t max_sequences, int32_t blocks_per_sequence)
      : blocks_per_sequence_(blocks_per_sequence),
        blocks_(static_cast<BlockId*>(std::calloc(
            static_cast<size_t>(max_sequences) * blocks_per_sequence, sizeof(BlockId)))) {}

  // Whether the memory was to be had.
  bool ok() const { return blocks_ != nullptr; }

  // All indices of a sequence.
  BlockId* Of(int32_t sequence_index) {
    return blocks_.get() + int64_t{sequence_index} * blocks_per_sequence_;
  }
  const BlockId* Of(int32_t sequence_index) const {
    return blocks_.get() + int64_t{sequence_index} * blocks_per_sequence_;
  }
  absl::Span<const BlockId> Of(int32_t sequence_index, BlockRange range) const {
    return {Of(sequence_index) + range.begin, static_cast<size_t>(range.size())};
  }

 private:
  struct FreeMemory {
    void operator()(BlockId* memory) const { std::free(memory); }
  };
  int32_t blocks_per_sequence_;
  std::unique_ptr<BlockId[], FreeMemory> blocks_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_BLOCK_TABLE_H_
