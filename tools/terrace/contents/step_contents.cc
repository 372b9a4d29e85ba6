#include "tools/terrace/contents/step_contents.h"

#include "src/base/status_macros.h"

namespace terrace::tools {

absl::StatusOr<std::unique_ptr<StepContents>> StepContents::Create(Backend* backend,
                                                                   int32_t max_sequences,
                                                                   const PrefixKeys* keys) {
  std::unique_ptr<StepContents> contents(new StepContents(backend, keys));
  const absl::Span<const uint64_t> all = keys->all();
  const int64_t count = static_cast<int64_t>(all.size());
  TERRACE_RETURN_IF_ERROR(contents->sequences_.Allocate(*backend, max_sequences, Stream{}));
  TERRACE_RETURN_IF_ERROR(contents->prefix_keys_.Allocate(*backend, count, Stream{}));
  TERRACE_RETURN_IF_ERROR(backend->Upload(contents->prefix_keys_.data(), all.data(),
                                          count * int64_t{sizeof(uint64_t)}, {}));
  return contents;
}

absl::Status StepContents::BeginStep(absl::Span<const StepSequence> sequences, Stream stream) {
  content_sequences_.clear();
  for (const StepSequence& part : sequences) {
    const PrefixKeys::Request& request = keys_.request(part.request);
    content_sequences_.push_back(
        {.first_key = request.first_key,
         .own_key = request.own,
         .rejected_key = RejectedKey(request.own, part.sequence, part.first),
         .own_from = request.own_from,
         .keep_end = part.keep_end()});
  }
  return backend_->Upload(sequences_.data(), content_sequences_.data(),
                          static_cast<int64_t>(content_sequences_.size() * sizeof(ContentSequence)),
                          stream);
}

}  // namespace terrace::tools
