// CudaRanges names what the backend's calls do, as NVTX ranges in the domain "terrace": Nsight Systems
// shows them above the launches that they enqueue. A range is of the calling thread, from a call's
// begin to its return, and not of the device's work.
//
// Thread-safe: yes.
// Cost: a branch a call if not enabled, or where no tool listens when it is made.
// Source: NVTX 3, headers of the CUDA toolkit.

#ifndef TERRACE_SRC_BACKEND_CUDA_CUDA_RANGES_H_
#define TERRACE_SRC_BACKEND_CUDA_CUDA_RANGES_H_

#include <nvtx3/nvToolsExt.h>

#include <cstdint>
#include <optional>

namespace terrace::internal {

class CudaRanges {
 public:
  explicit CudaRanges(bool enabled) : domain_(enabled ? nvtxDomainCreateA("terrace") : nullptr) {}
  ~CudaRanges() {
    if (domain_ != nullptr) nvtxDomainDestroy(domain_);
  }
  CudaRanges(const CudaRanges&) = delete;
  CudaRanges& operator=(const CudaRanges&) = delete;

  // A range from its making to its end.
  class Scope {
   public:
    explicit Scope(nvtxDomainHandle_t domain) : domain_(domain) {}
    ~Scope() {
      if (domain_ != nullptr) nvtxDomainRangePop(domain_);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    const nvtxDomainHandle_t domain_;  // null: there is no range
  };

  // `number` is shown beside the name: a plan's, or a layer's.
  [[nodiscard]] Scope Open(const char* name, std::optional<uint64_t> number = std::nullopt) const {
    if (domain_ == nullptr) return Scope(nullptr);
    nvtxEventAttributes_t range = {};
    range.version = NVTX_VERSION;
    range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    range.messageType = NVTX_MESSAGE_TYPE_ASCII;
    range.message.ascii = name;
    if (number.has_value()) {
      range.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
      range.payload.ullValue = *number;
    }
    nvtxDomainRangePushEx(domain_, &range);
    return Scope(domain_);
  }

 private:
  const nvtxDomainHandle_t domain_;  // null: not enabled, or no tool listens
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BACKEND_CUDA_CUDA_RANGES_H_
