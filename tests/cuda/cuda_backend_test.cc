#include "src/backend/cuda/cuda_backend.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "src/ops/copy_params.h"
#include "tests/cuda/cuda_fixture.h"

namespace terrace::testing {
namespace {

using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(CudaBackendWithoutDeviceTest, NoGpuIsAPreconditionWithTheRuntimesReason) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) GTEST_SKIP() << "this machine has a GPU";
  const auto backend = internal::MakeCudaBackend(0);
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(backend.status()), HasSubstr(cudaGetErrorName(error)));
}

TEST(CudaBackendWithoutDeviceTest, ANegativeDeviceIsAnError) {
  EXPECT_EQ(internal::MakeCudaBackend(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

using CudaBackendTest = CudaTest;

TEST_F(CudaBackendTest, ADeviceThatIsNotThereIsAnError) {
  const auto backend = internal::MakeCudaBackend(1000);
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(backend.status()), HasSubstr("no CUDA device 1000"));
}

TEST_F(CudaBackendTest, MemoryIsZeroAndAligned) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1000}, int64_t{1} << 24}) {
    for (int round = 0; round < 2; ++round) {  // the second finds what the first left behind
      absl::StatusOr<void*> memory = cuda_->Allocate(bytes, Stream{});
      ASSERT_TRUE(memory.ok()) << memory.status();
      EXPECT_EQ(reinterpret_cast<uintptr_t>(*memory) % 256, 0u);
      EXPECT_EQ(DownloadArray<uint8_t>(*cuda_, *memory, bytes), std::vector<uint8_t>(bytes));
      const std::vector<uint8_t> ones(bytes, 0xFF);
      EXPECT_TRUE(cuda_->Upload(*memory, ones.data(), bytes, Stream{}).ok());
      EXPECT_TRUE(cuda_->Synchronize(Stream{}).ok());
      cuda_->Free(*memory, Stream{});
    }
  }
  cuda_->Free(nullptr, Stream{});
}

TEST_F(CudaBackendTest, MoreMemoryThanThereIsIsAnErrorThatSaysHowMuchIsFree) {
  const absl::StatusOr<void*> memory = cuda_->Allocate(int64_t{1} << 50, Stream{});
  EXPECT_EQ(memory.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(memory.status()), HasSubstr("1125899906842624"));
  EXPECT_THAT(Message(memory.status()), HasSubstr("are free"));
  EXPECT_EQ(cuda_->Allocate(-1, Stream{}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess) << "a failure is reported once";
}

TEST_F(CudaBackendTest, CountersAreReadWithoutWaitingForTheDevice) {
  TestPlane plane(*cuda_, {});
  const std::vector<uint16_t> rows(plane.channels(), 0x7FC0);
  plane.Write(rows, {0});  // ends with a synchronization
  EXPECT_EQ(cuda_->ReadCounters().nonfinite_values, 512u);

  // A write behind work that has not ended is not counted yet, and reading does not wait for it.
  // The work gives up by itself, for tools that make every launch wait.
  std::atomic<bool> may_end = false;
  const auto wait = [](void* flag) {
    const auto& ends = *static_cast<std::atomic<bool>*>(flag);
    for (int i = 0; i < 2000 && !ends; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  BackendArray<uint16_t> device_rows(*cuda_, rows);
  BackendArray<int32_t> slots(*cuda_, 1);
  WriteParams params{};
  params.num_segments = 1;
  params.counters = cuda_->counters();
  params.segments[0].rows = device_rows.data();
  params.segments[0].row_pitch = plane.channels();
  params.segments[0].max_rows = 1;
  params.segments[0].slots = slots.data();
  params.segments[0].pages = plane.pages();
  ASSERT_EQ(cudaLaunchHostFunc(nullptr, wait, &may_end), cudaSuccess);
  EXPECT_TRUE(KernelsOf(*cuda_).Write(params, Stream{}).ok());
  if (cudaStreamQuery(nullptr) == cudaSuccess) GTEST_SKIP() << "launches wait for their end here";
  EXPECT_EQ(cuda_->ReadCounters().nonfinite_values, 512u);
  EXPECT_EQ(cudaStreamQuery(nullptr), cudaErrorNotReady);
  may_end = true;
  ASSERT_TRUE(cuda_->Synchronize(Stream{}).ok());
  EXPECT_EQ(cuda_->ReadCounters().nonfinite_values, 1024u);
}

TEST_F(CudaBackendTest, BlocksBeyondFourGigabytesAreCopied) {
  constexpr int64_t kBlockBytes = 962'496;  // a CSA block of DeepSeek-V4-Flash
  constexpr int32_t kBlocks = 4700;
  BackendArray<uint8_t> pool(*cuda_, kBlocks * kBlockBytes);
  const auto block = [&](int32_t index) { return pool.data() + index * kBlockBytes; };
  std::mt19937_64 random(1);
  std::vector<uint8_t> first(kBlockBytes);
  std::vector<uint8_t> last(kBlockBytes);
  for (uint8_t& byte : first) byte = static_cast<uint8_t>(random());
  for (uint8_t& byte : last) byte = static_cast<uint8_t>(random());
  ASSERT_TRUE(cuda_->Upload(block(0), first.data(), kBlockBytes, Stream{}).ok());
  ASSERT_TRUE(cuda_->Upload(block(kBlocks - 1), last.data(), kBlockBytes, Stream{}).ok());
  const int32_t middle = static_cast<int32_t>((int64_t{1} << 31) / kBlockBytes);
  const int32_t far = static_cast<int32_t>((int64_t{1} << 32) / kBlockBytes);
  BackendArray<BlockCopy> copies(
      *cuda_,
      {{0, 0, middle, 0}, {0, 0, far, 0}, {0, kBlocks - 1, 1, 0}, {0, kBlocks - 1, far + 1, 0}});
  internal::CopyParams params{};
  params.pools[0] = {pool.data(), kBlockBytes, 0, kBlockBytes, 1};
  params.copies = copies.data();
  params.count = 4;
  ASSERT_TRUE(KernelsOf(*cuda_).CopyBlocks(params, Stream{}).ok());
  const std::vector<uint8_t> zeros(kBlockBytes);
  const auto expect = [&](int32_t index, const std::vector<uint8_t>& bytes) {
    EXPECT_TRUE(DownloadArray<uint8_t>(*cuda_, block(index), kBlockBytes) == bytes) << index;
  };
  for (const int32_t index : {0, middle, far}) expect(index, first);
  for (const int32_t index : {1, far + 1, kBlocks - 1}) expect(index, last);
  for (const int32_t index : {2, middle - 1, middle + 1, far - 1, far + 2}) expect(index, zeros);
}

}  // namespace
}  // namespace terrace::testing
