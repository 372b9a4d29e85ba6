// KernelBackend is a backend with the calls that a store makes: each takes a parameter struct of
// src/ops and enqueues it. It validates nothing: the store did.
//
// Stream: calls are ordered on the caller's; none synchronizes or allocates, so that all but Begin
// can be captured in a CUDA graph.
// Errors: of a call that fails, a part may have been enqueued.

#ifndef TERRACE_SRC_BACKEND_KERNEL_BACKEND_H_
#define TERRACE_SRC_BACKEND_KERNEL_BACKEND_H_

#include "absl/status/status.h"
#include "terrace/backend.h"

namespace terrace::internal {

struct BeginParams;
struct PatchParams;
struct WriteParams;
struct TranslateParams;
struct GatherParams;
struct CopyParams;
struct CompressParams;
struct CaptureOverlapParams;
struct RestoreStateParams;

class KernelBackend : public Backend {
 public:
  // Null where `backend` is none of the library's.
  static KernelBackend* Of(Backend& backend) { return backend.kernels(); }

  // Whether a plan can be taken in on `stream` now. Enqueues nothing.
  // Errors: FailedPrecondition on a stream that is being captured, whose replays would repeat this
  // plan.
  virtual absl::Status CheckCanBegin(Stream stream) = 0;

  // Takes the plan like Upload: it may be reused as soon as the call returns.
  virtual absl::Status Begin(const BeginParams& params, Stream stream) = 0;
  virtual absl::Status Patch(const PatchParams& params, Stream stream) = 0;
  virtual absl::Status Write(const WriteParams& params, Stream stream) = 0;
  virtual absl::Status Translate(const TranslateParams& params, Stream stream) = 0;
  virtual absl::Status Gather(const GatherParams& params, Stream stream) = 0;
  virtual absl::Status CopyBlocks(const CopyParams& params, Stream stream) = 0;
  virtual absl::Status Compress(const CompressParams& params, Stream stream) = 0;
  virtual absl::Status CaptureOverlap(const CaptureOverlapParams& params, Stream stream) = 0;
  virtual absl::Status RestoreState(const RestoreStateParams& params, Stream stream) = 0;

 private:
  KernelBackend* kernels() final { return this; }
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_KERNEL_BACKEND_H_
