// StepContents keeps what the contents of a step's rows derive from (contents.h) where the store's
// backend can read it, at addresses that stay the same from step to step.
//
// Stream: all calls of a step are ordered on the stream they are given. Thread-safe: no.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_STEP_CONTENTS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_STEP_CONTENTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "terrace/backend.h"
#include "terrace/backend_buffer.h"
#include "tools/terrace/contents/contents.h"
#include "tools/terrace/engine/step_runner.h"
#include "tools/terrace/trace/prefix_keys.h"

namespace terrace::tools {

class StepContents {
 public:
  // Both pointers are borrowed.   Errors: ResourceExhausted from the backend.
  static absl::StatusOr<std::unique_ptr<StepContents>> Create(Backend* backend,
                                                              int32_t max_sequences,
                                                              const PrefixKeys* keys);

  // Once a step, after Store::Begin.
  absl::Status BeginStep(absl::Span<const StepSequence> sequences, Stream stream);

  // [sequence steps of the step]
  const ContentSequence* sequences() const { return sequences_.data(); }
  // Of all requests.
  const uint64_t* prefix_keys() const { return prefix_keys_.data(); }

 private:
  StepContents(Backend* backend, const PrefixKeys* keys) : backend_(backend), keys_(*keys) {}

  Backend* const backend_;
  const PrefixKeys& keys_;
  std::vector<ContentSequence> content_sequences_;
  BackendBuffer<ContentSequence> sequences_;
  BackendBuffer<uint64_t> prefix_keys_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_STEP_CONTENTS_H_
