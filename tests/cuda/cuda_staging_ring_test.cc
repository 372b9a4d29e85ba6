#include "src/backend/cuda/cuda_staging_ring.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "tests/cuda/cuda_fixture.h"

namespace terrace::testing {

using internal::CudaStagingRing;
namespace {

constexpr int kBuffers = 3;
constexpr int64_t kBufferBytes = 1000;

class CudaStagingRingTest : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    auto ring = CudaStagingRing::Create(kBuffers, kBufferBytes);
    ASSERT_TRUE(ring.ok()) << ring.status();
    ring_ = *std::move(ring);
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    if (stream_ == nullptr) return;
    EXPECT_EQ(cudaStreamDestroy(stream_), cudaSuccess);
  }

  std::unique_ptr<CudaStagingRing> ring_;
  cudaStream_t stream_ = nullptr;
};

TEST_F(CudaStagingRingTest, TheSourceMayBeReusedAtOnce) {
  constexpr int64_t kUploads = 2000;
  std::mt19937_64 random(1);
  std::vector<uint8_t> expected;
  std::vector<int64_t> sizes(kUploads);
  int64_t total = 0;
  for (int64_t& size : sizes) {
    size = static_cast<int64_t>(random() % (4 * kBufferBytes));  // some empty, some split
    total += size;
  }
  BackendArray<uint8_t> device(*cuda_, total);
  std::vector<uint8_t> source(4 * kBufferBytes);
  for (const int64_t size : sizes) {
    for (int64_t i = 0; i < size; ++i) source[i] = static_cast<uint8_t>(random());
    const int64_t at = static_cast<int64_t>(expected.size());
    expected.insert(expected.end(), source.begin(), source.begin() + size);
    ASSERT_TRUE(ring_->Upload(device.data() + at, source.data(), size, stream_).ok());
    std::fill(source.begin(), source.end(), uint8_t{0xEE});
  }
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_TRUE(device.Read() == expected);
}

TEST_F(CudaStagingRingTest, ItsEndWaitsForCopiesUnderWay) {
  constexpr int64_t kBytes = 64 << 20;
  BackendArray<uint8_t> work(*cuda_, 2 * kBytes);
  BackendArray<uint8_t> device(*cuda_, kBuffers * kBufferBytes);
  const std::vector<uint8_t> source(kBuffers * kBufferBytes, 0x5A);
  for (int i = 0; i < 100; ++i) {  // so that the uploads are not reached for some milliseconds
    ASSERT_EQ(cudaMemcpyAsync(work.data(), work.data() + kBytes, kBytes, cudaMemcpyDeviceToDevice,
                              stream_),
              cudaSuccess);
  }
  ASSERT_TRUE(ring_->Upload(device.data(), source.data(), kBuffers * kBufferBytes, stream_).ok());
  ring_.reset();
  EXPECT_EQ(cudaStreamQuery(stream_), cudaSuccess) << "the buffers went before their copies";
  EXPECT_TRUE(device.Read() == source);
}

TEST_F(CudaStagingRingTest, UploadingIntoACaptureIsRefused) {
  BackendArray<uint8_t> device(*cuda_, 16);
  const std::vector<uint8_t> source(16);
  ASSERT_EQ(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  const absl::Status status = ring_->Upload(device.data(), source.data(), 16, stream_);
  cudaGraph_t graph = nullptr;
  EXPECT_EQ(cudaStreamEndCapture(stream_, &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
}

}  // namespace
}  // namespace terrace::testing
