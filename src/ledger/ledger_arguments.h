// What callers of a ledger may pass.

#ifndef TERRACE_SRC_LEDGER_LEDGER_ARGUMENTS_H_
#define TERRACE_SRC_LEDGER_LEDGER_ARGUMENTS_H_

#include "absl/status/status.h"
#include "terrace/geometry.h"
#include "terrace/ledger.h"

namespace terrace::internal {

// Errors: InvalidArgument, as Ledger::Create.
absl::Status CheckOptions(const LedgerOptions& options);

// Errors: InvalidArgument, as Ledger::AllocateSequence.
absl::Status CheckRequest(const Geometry& geometry, const SequenceRequest& request);

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_LEDGER_ARGUMENTS_H_
