// The backend's NVTX ranges, heard by a tool that is linked into the test. It needs no GPU, but for the
// last test.

#include "src/backend/cuda/cuda_ranges.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/backend.h"

namespace terrace::testing {
namespace {

using internal::CudaRanges;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// What the tool heard.
std::vector<std::string>& Heard() {
  static std::vector<std::string> heard;
  return heard;
}
int domain;  // its address stands for the domain

nvtxDomainHandle_t CreateDomain(const char* name) {
  Heard().push_back(absl::StrCat("domain ", name));
  return reinterpret_cast<nvtxDomainHandle_t>(&domain);
}
void DestroyDomain(nvtxDomainHandle_t handle) {
  if (handle == reinterpret_cast<nvtxDomainHandle_t>(&domain)) Heard().push_back("end of domain");
}
int Push(nvtxDomainHandle_t /*handle*/, const nvtxEventAttributes_t* range) {
  const bool numbered = range->payloadType == NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
  Heard().push_back(absl::StrCat("push ", range->message.ascii,
                                 numbered ? absl::StrCat(" ", range->payload.ullValue) : ""));
  return 0;
}
int Pop(nvtxDomainHandle_t /*handle*/) {
  Heard().push_back("pop");
  return 0;
}

int Initialize(NvtxGetExportTableFunc_t get_table) {
  const auto* const callbacks =
      static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned int size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) {
    return 0;
  }
  const auto set = [&](int id, auto* function) {
    *table[id] = reinterpret_cast<NvtxFunctionPointer>(function);
  };
  set(NVTX_CBID_CORE2_DomainCreateA, &CreateDomain);
  set(NVTX_CBID_CORE2_DomainDestroy, &DestroyDomain);
  set(NVTX_CBID_CORE2_DomainRangePushEx, &Push);
  set(NVTX_CBID_CORE2_DomainRangePop, &Pop);
  return 1;
}

// NVTX calls it at its first call.
[[maybe_unused]] const bool kInstalled = (InitializeInjectionNvtx2_fnptr = &Initialize) != nullptr;

class CudaRangesTest : public ::testing::Test {
 protected:
  void SetUp() override { Heard().clear(); }
};

TEST_F(CudaRangesTest, RangesNestAndEndWithTheirScopes) {
  {
    const CudaRanges ranges(/*enabled=*/true);
    const CudaRanges::Scope begin = ranges.Open("Begin", 7);
    { const CudaRanges::Scope patch = ranges.Open("Patch"); }
  }
  EXPECT_THAT(Heard(), ElementsAre("domain terrace", "push Begin 7", "push Patch", "pop", "pop",
                                   "end of domain"));
}

TEST_F(CudaRangesTest, NothingIsSaidUnlessEnabled) {
  const CudaRanges ranges(/*enabled=*/false);
  { const CudaRanges::Scope begin = ranges.Open("Begin", 7); }
  EXPECT_THAT(Heard(), IsEmpty());
}

TEST_F(CudaRangesTest, TheBackendsCallsAreRangesBehindItsOption) {
  for (const bool nvtx : {false, true}) {
    Heard().clear();
    const auto backend = MakeBackend({.kind = BackendKind::kCuda, .nvtx = nvtx});
    if (!backend.ok()) GTEST_SKIP() << backend.status();
    void* const memory = *(*backend)->Allocate(16, {});
    const int32_t value = 5;
    ASSERT_TRUE((*backend)->Upload(memory, &value, sizeof(value), {}).ok());
    (*backend)->Free(memory, {});
    if (nvtx) {
      EXPECT_THAT(Heard(), Contains("push Upload"));
    } else {
      EXPECT_THAT(Heard(), IsEmpty());
    }
  }
}

}  // namespace
}  // namespace terrace::testing
