// The ids that the prefix index gives out.

#ifndef TERRACE_SRC_LEDGER_PREFIX_IDS_H_
#define TERRACE_SRC_LEDGER_PREFIX_IDS_H_

#include <cstdint>

#include "terrace/ids.h"

namespace terrace::internal {

// A node of the index's tree: a chunk, or a root if below 0.
using ChunkId = StrongId<struct ChunkIdTag, int32_t>;
using CheckpointId = StrongId<struct CheckpointIdTag, int32_t>;

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_PREFIX_IDS_H_
