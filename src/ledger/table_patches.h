// The patches that put all blocks of a sequence into a store's tables: what the first plan says of
// a sequence that took over blocks of others.

#ifndef TERRACE_SRC_LEDGER_TABLE_PATCHES_H_
#define TERRACE_SRC_LEDGER_TABLE_PATCHES_H_

#include <cstdint>

#include "src/ledger/pool_set.h"
#include "src/ledger/sequence.h"
#include "src/plan/plan_builder.h"

namespace terrace::internal {

// How many patches AddTablePatches adds.
int32_t CountTablePatches(const PoolSet& pools, const Sequence& sequence);

// Where all blocks lie that the sequence has before its step and keeps. Before them its window has
// holes.   REQUIRES: the step is not applied yet, but for its copies.
void AddTablePatches(const PoolSet& pools, const Sequence& sequence, PlanBuilder& plan);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_TABLE_PATCHES_H_
