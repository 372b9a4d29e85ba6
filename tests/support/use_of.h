// How the blocks of one pool are used, for tests that know that the pool exists.

#ifndef TERRACE_TESTS_SUPPORT_USE_OF_H_
#define TERRACE_TESTS_SUPPORT_USE_OF_H_

#include "terrace/ids.h"
#include "terrace/ledger.h"

namespace terrace::testing {

// `owner` is a Ledger or a Cache.
PoolUse UseOf(const auto& owner, int pool) { return owner.Use(PoolIndex(pool)).value(); }

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_USE_OF_H_
