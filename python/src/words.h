// The words that Python says instead of C++ enumerators: "full", "latent", "flashmla_v4".

#ifndef TERRACE_PYTHON_SRC_WORDS_H_
#define TERRACE_PYTHON_SRC_WORDS_H_

#include <nanobind/nanobind.h>

#include <string>

#include "terrace/backend.h"
#include "terrace/ledger.h"
#include "terrace/model.h"
#include "terrace/prefix.h"
#include "terrace/store.h"

namespace terrace::python {

namespace nb = nanobind;

// Errors: InvalidArgument that lists the known words.
PoolKind PoolKindOf(nb::handle word);        // "window", "full", "overlap", "state"
PlaneKind PlaneKindOf(nb::handle word);      // "latent", "indexer"
EntryRule EntryRuleOf(nb::handle word);      // "pooled", "strided"
PoolLayout PoolLayoutOf(nb::handle word);    // "block-major", "layer-major"
RowFormat RowFormatOf(nb::handle word);      // RowFormatName
Priority PriorityOf(nb::handle word);        // "low", "normal", "high"
MatchPolicy MatchPolicyOf(nb::handle word);  // "appended", "retired"
BackendKind BackendKindOf(nb::handle word);  // "auto", "host", "cuda"
FreeReason FreeReasonOf(nb::handle word);    // "finished", "preempted", "cancelled"
// "none", "end", or a number of tokens.
CheckpointPolicy CheckpointPolicyOf(nb::handle value);

const char* WordOf(PoolKind kind);
const char* WordOf(EntryRule rule);
const char* WordOf(PoolLayout layout);
const char* WordOf(Priority priority);
const char* WordOf(MatchPolicy policy);
std::string WordOf(RowFormat format);
nb::object WordOf(const CheckpointPolicy& policy);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_WORDS_H_
