// BlockTable is the host's block table of one pool: which block each lane has at each index.
// Entries are meaningful only where the lane's sequence says so; what was freed is left behind,
// unread.

#ifndef TERRACE_SRC_LEDGER_BLOCK_TABLE_H_
#define TERRACE_SRC_LEDGER_BLOCK_TABLE_H_

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "absl/types/span.h"
#include "src/ledger/sequence.h"
#include "terrace/ids.h"

namespace terrace {

class BlockTable {
 public:
  // From calloc, so that a table for the longest contexts costs resident memory only where
  // sequences have been.
  BlockTable(int32_t lanes, int32_t blocks_per_lane)
      : blocks_per_lane_(blocks_per_lane),
        entries_(static_cast<BlockId*>(
            std::calloc(static_cast<size_t>(lanes) * blocks_per_lane, sizeof(BlockId)))) {}

  // Whether the memory was to be had.
  bool ok() const { return entries_ != nullptr; }

  BlockId* Row(int32_t lane) { return entries_.get() + int64_t{lane} * blocks_per_lane_; }
  const BlockId* Row(int32_t lane) const {
    return entries_.get() + int64_t{lane} * blocks_per_lane_;
  }
  absl::Span<const BlockId> Blocks(int32_t lane, BlockRange range) const {
    return {Row(lane) + range.begin, static_cast<size_t>(range.size())};
  }

 private:
  struct FreeMemory {
    void operator()(BlockId* memory) const { std::free(memory); }
  };
  int32_t blocks_per_lane_;
  std::unique_ptr<BlockId[], FreeMemory> entries_;
};

}  // namespace terrace

#endif  // TERRACE_SRC_LEDGER_BLOCK_TABLE_H_
