// FaultyBackend: another backend, of whose kernel calls one fails when it is told to: before it has
// done anything, or after all is done. Or one does nothing and says that all is well.

#ifndef TERRACE_TESTS_SUPPORT_FAULTY_BACKEND_H_
#define TERRACE_TESTS_SUPPORT_FAULTY_BACKEND_H_

#include <memory>
#include <utility>

#include "src/backend/kernel_backend.h"

namespace terrace::testing {

enum class Fault { kNone, kUpload, kPatch, kBegin, kCapture, kCopy, kRestore };
inline constexpr int kNumFaults = 7;

class FaultyBackend final : public internal::KernelBackend {
 public:
  explicit FaultyBackend(std::shared_ptr<Backend> backend)
      : backend_(std::move(backend)), kernels_(*KernelBackend::Of(*backend_)) {}

  // The next such call fails, once.
  void Arm(Fault fault, bool after) {
    armed_ = fault;
    after_ = after;
    drops_ = false;
  }
  // The next such call does nothing, once.
  void Drop(Fault fault) {
    armed_ = fault;
    drops_ = true;
  }
  bool armed() const { return armed_ != Fault::kNone; }

  absl::string_view name() const override { return backend_->name(); }
  absl::StatusOr<void*> Allocate(int64_t bytes, Stream stream) override {
    return backend_->Allocate(bytes, stream);
  }
  void Free(void* memory, Stream stream) override { backend_->Free(memory, stream); }
  absl::Status Upload(void* to, const void* from, int64_t bytes, Stream stream) override {
    return Or(Fault::kUpload, [&] { return backend_->Upload(to, from, bytes, stream); });
  }
  absl::Status Download(void* to, const void* from, int64_t bytes, Stream stream) override {
    return backend_->Download(to, from, bytes, stream);
  }
  absl::Status Synchronize(Stream stream) override { return backend_->Synchronize(stream); }
  Counters* counters() override { return backend_->counters(); }
  Counters ReadCounters() const override { return backend_->ReadCounters(); }

  absl::Status CheckCanBegin(Stream stream) override { return kernels_.CheckCanBegin(stream); }
  absl::Status Begin(const internal::BeginParams& params, Stream stream) override {
    return Or(Fault::kBegin, [&] { return kernels_.Begin(params, stream); });
  }
  absl::Status Patch(const internal::PatchParams& params, Stream stream) override {
    return Or(Fault::kPatch, [&] { return kernels_.Patch(params, stream); });
  }
  absl::Status Write(const internal::WriteParams& params, Stream stream) override {
    return kernels_.Write(params, stream);
  }
  absl::Status Translate(const internal::TranslateParams& params, Stream stream) override {
    return kernels_.Translate(params, stream);
  }
  absl::Status Gather(const internal::GatherParams& params, Stream stream) override {
    return kernels_.Gather(params, stream);
  }
  absl::Status CopyBlocks(const internal::CopyParams& params, Stream stream) override {
    return Or(Fault::kCopy, [&] { return kernels_.CopyBlocks(params, stream); });
  }
  absl::Status Compress(const internal::CompressParams& params, Stream stream) override {
    return kernels_.Compress(params, stream);
  }
  absl::Status CaptureOverlap(const internal::CaptureOverlapParams& params,
                              Stream stream) override {
    return Or(Fault::kCapture, [&] { return kernels_.CaptureOverlap(params, stream); });
  }
  absl::Status RestoreState(const internal::RestoreStateParams& params, Stream stream) override {
    return Or(Fault::kRestore, [&] { return kernels_.RestoreState(params, stream); });
  }

 private:
  template <typename Call>
  absl::Status Or(Fault fault, const Call& call) {
    if (armed_ != fault) return call();
    armed_ = Fault::kNone;
    if (drops_) return absl::OkStatus();
    if (after_) {
      if (absl::Status status = call(); !status.ok()) return status;
    }
    return absl::InternalError("injected");
  }

  std::shared_ptr<Backend> backend_;
  KernelBackend& kernels_;
  Fault armed_ = Fault::kNone;
  bool after_ = false;
  bool drops_ = false;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_FAULTY_BACKEND_H_
