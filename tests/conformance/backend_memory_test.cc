// Memory of a backend: BackendBuffer, and a MemoryResource of the caller's, over every backend.

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/backend_buffer.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/test_geometry.h"

namespace terrace::testing {
namespace {

// Memory of another backend of the same kind, full of 0xCD, which remembers what it gave. It fails
// at call `fail_at`, counted from 0.
class CountingResource final : public MemoryResource {
 public:
  explicit CountingResource(Backend& source) : source_(source) {}

  void* Allocate(int64_t bytes, int64_t alignment, Stream stream) override {
    if (calls_++ == fail_at) return nullptr;
    absl::StatusOr<void*> memory = source_.Allocate(bytes + shift, stream);
    EXPECT_TRUE(memory.ok()) << memory.status();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(*memory) % alignment, 0u);
    const std::vector<uint8_t> dirt(bytes, 0xCD);
    EXPECT_TRUE(source_.Upload(*memory, dirt.data(), bytes, stream).ok());
    uint8_t* const given = static_cast<uint8_t*>(*memory) + shift;
    live[given] = bytes;
    total += bytes;
    return given;
  }

  void Deallocate(void* memory, int64_t bytes, Stream stream) override {
    const auto found = live.find(memory);
    ASSERT_NE(found, live.end()) << "never given, or given back twice";
    EXPECT_EQ(found->second, bytes);
    live.erase(found);
    last_stream = stream;
    source_.Free(static_cast<uint8_t*>(memory) - shift, stream);
  }

  int64_t fail_at = -1;
  int64_t shift = 0;  // bytes behind a multiple of the alignment
  std::map<void*, int64_t> live;
  int64_t total = 0;
  Stream last_stream;

 private:
  Backend& source_;
  int64_t calls_ = 0;
};

class BackendMemoryTest : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    auto source = MakeBackend({.kind = GetParam(), .host_threads = 1});
    if (!source.ok()) GTEST_SKIP() << source.status();
    source_ = *std::move(source);
    resource_ = std::make_unique<CountingResource>(*source_);
  }

  BackendOptions Options() {
    return {.kind = GetParam(), .host_threads = 1, .memory = resource_.get()};
  }

  std::unique_ptr<Backend> source_;
  std::unique_ptr<CountingResource> resource_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, BackendMemoryTest,
                         ::testing::Values(BackendKind::kHost, BackendKind::kCuda),
                         [](const auto& info) {
                           return info.param == BackendKind::kHost ? "Host" : "Cuda";
                         });

TEST_P(BackendMemoryTest, ABufferIsZeroAndMovesAndGivesItsMemoryBack) {
  auto backend = *MakeBackend(Options());
  {
    auto made = BackendBuffer<int32_t>::Make(*backend, 100, Stream{});
    ASSERT_TRUE(made.ok()) << made.status();
    BackendBuffer<int32_t> buffer = *std::move(made);
    EXPECT_EQ(*buffer.Download(100, Stream{}), std::vector<int32_t>(100));
    ASSERT_TRUE(buffer.Upload({1, 2, 3}, Stream{}, 97).ok());
    BackendBuffer<int32_t> taken = std::move(buffer);
    EXPECT_EQ(buffer.data(), nullptr);  // NOLINT(bugprone-use-after-move): it is defined
    EXPECT_EQ(*taken.Download(4, Stream{}, 96), (std::vector<int32_t>{0, 1, 2, 3}));
    EXPECT_EQ(resource_->live.size(), 1u);
    ASSERT_TRUE(taken.Allocate(*backend, 5, Stream{}).ok());
    EXPECT_EQ(resource_->live.size(), 1u);
    EXPECT_EQ(taken.size(), 5);
  }
  EXPECT_TRUE(resource_->live.empty());
}

TEST_P(BackendMemoryTest, WhatABufferDoesNotHaveIsAnError) {
  auto backend = *MakeBackend(Options());
  auto buffer = *BackendBuffer<int32_t>::MakeFrom(*backend, {1, 2, 3}, Stream{});
  EXPECT_EQ(buffer.Upload({1}, Stream{}, 3).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(buffer.Upload({1}, Stream{}, -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(buffer.Download(4, Stream{}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(buffer.Download(-1, Stream{}).status().code(), absl::StatusCode::kInvalidArgument);
  for (const int64_t size : {int64_t{-1}, int64_t{1} << 62}) {
    EXPECT_EQ(BackendBuffer<int32_t>::Make(*backend, size, Stream{}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(buffer.Upload({}, Stream{}, 3).ok());
}

TEST_P(BackendMemoryTest, CopiesOfNullOrImpossibleSizesAreErrors) {
  auto backend = *MakeBackend(Options());
  const auto buffer = *BackendBuffer<uint8_t>::MakeFrom(*backend, {1, 2, 3}, Stream{});
  uint8_t bytes[3] = {4, 5, 6};
  void* const there = const_cast<uint8_t*>(buffer.data());
  const auto expect = [](const absl::Status& status, const char* names) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_NE(status.message().find(names), std::string::npos) << status;
  };
  expect(backend->Upload(nullptr, bytes, 3, {}), "to is null, and bytes is 3");
  expect(backend->Upload(there, nullptr, 3, {}), "from is null, and bytes is 3");
  expect(backend->Upload(there, bytes, -1, {}), "bytes is -1, not in 0..");
  expect(backend->Upload(there, bytes, std::numeric_limits<int64_t>::min(), {}), "bytes is -92");
  expect(backend->Upload(there, bytes, std::numeric_limits<int64_t>::max(), {}), "bytes is 92");
  expect(backend->Download(nullptr, there, 3, {}), "to is null");
  expect(backend->Download(bytes, nullptr, 3, {}), "from is null");
  expect(backend->Download(bytes, there, -1, {}), "bytes is -1, not in 0..");
  expect(backend->Download(bytes, there, std::numeric_limits<int64_t>::max(), {}), "bytes is 92");
  expect(backend->Allocate(-1, {}).status(), "bytes is -1, not in 0..");
  expect(backend->Allocate(std::numeric_limits<int64_t>::max(), {}).status(), "bytes is 92");
  EXPECT_EQ(*buffer.Download(3, Stream{}), (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(bytes[0], 4);

  EXPECT_TRUE(backend->Upload(nullptr, nullptr, 0, {}).ok());
  EXPECT_TRUE(backend->Download(nullptr, nullptr, 0, {}).ok());
  backend->Free(nullptr, {});
  backend->Free(bytes, {});  // none of its own
  BackendBuffer<uint8_t> nothing;
  expect(nothing.Upload({1}, {}), "not in a buffer of 0");
  expect(nothing.Upload({1}, {}, std::numeric_limits<int64_t>::max()), "not in a buffer of 0");
  expect(nothing.Download(1, {}).status(), "not in a buffer of 0");
  expect(buffer.Download(std::numeric_limits<int64_t>::max(), {}, 1).status(), "of 3");
  expect(buffer.Download(1, {}, std::numeric_limits<int64_t>::min()).status(), "of 3");
  const absl::Span<const uint8_t> no_bytes(nullptr, 2);
  expect(nothing.Allocate(*backend, 2, {}).ok() ? nothing.Upload(no_bytes, {}) : absl::OkStatus(),
         "from is null");
  expect(BackendBuffer<uint8_t>::MakeFrom(*backend, no_bytes, {}).status(), "from is null");
}

// More than there is, but not more than there could be.
TEST_P(BackendMemoryTest, MoreThanThereIsIsAShortage) {
  auto backend = *MakeBackend({.kind = GetParam(), .host_threads = 1});
  EXPECT_EQ(backend->Allocate(int64_t{1} << 55, {}).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_P(BackendMemoryTest, MemoryGoesBackOnTheBuffersStream) {
  if (GetParam() != BackendKind::kHost) GTEST_SKIP() << "needs no device: streams are not used";
  auto backend = *MakeBackend(Options());
  int one = 0;
  int other = 0;
  { auto buffer = *BackendBuffer<int32_t>::Make(*backend, 1, Stream{&one}); }
  EXPECT_EQ(resource_->last_stream.handle, &one);
  {
    auto buffer = *BackendBuffer<int32_t>::Make(*backend, 1, Stream{&one});
    buffer.set_stream(Stream{&other});
  }
  EXPECT_EQ(resource_->last_stream.handle, &other);
}

TEST_P(BackendMemoryTest, MemoryThatIsNotAlignedIsRefusedAndGoesBack) {
  auto backend = *MakeBackend(Options());
  resource_->shift = 16;
  EXPECT_EQ(backend->Allocate(100, Stream{}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(resource_->live.empty());
}

TEST_P(BackendMemoryTest, WhatNobodyFreedGoesBackWithTheBackend) {
  auto backend = *MakeBackend(Options());
  ASSERT_TRUE(backend->Allocate(100, Stream{}).ok());
  EXPECT_EQ(resource_->live.size(), 1u);
  backend.reset();
  EXPECT_TRUE(resource_->live.empty());
}

CacheOptions SmallCache(const BackendOptions& backend) {
  return {.model = DeepSeekV4Flash(),
          .memory_bytes = 64 * kMiB,
          .limits = {.max_sequences = 2, .max_step_tokens = 64, .max_context_tokens = 1024},
          .backend = backend};
}

TEST_P(BackendMemoryTest, AllOfACacheComesFromTheResourceIsZeroAndGoesBack) {
  {
    auto cache = Cache::Create(SmallCache(Options()));
    ASSERT_TRUE(cache.ok()) << cache.status();
    EXPECT_GE(resource_->total, (*cache)->store().memory_bytes());
    const absl::StatusOr<PageView> pages = (*cache)->Pages(0, PoolKind::kWindow);
    ASSERT_TRUE(pages.ok()) << pages.status();
    std::vector<uint8_t> bytes(pages->page_bytes, 1);
    ASSERT_TRUE((*cache)
                    ->store()
                    .backend()
                    .Download(bytes.data(), pages->base, pages->page_bytes, Stream{})
                    .ok());
    EXPECT_EQ(bytes, std::vector<uint8_t>(pages->page_bytes));
  }
  EXPECT_TRUE(resource_->live.empty());
}

TEST_P(BackendMemoryTest, AResourceThatFailsAtAnyCallLeaksNothing) {
  for (int64_t call = 0;; ++call) {
    CountingResource resource(*source_);
    resource.fail_at = call;
    BackendOptions options = Options();
    options.memory = &resource;
    {
      auto cache = Cache::Create(SmallCache(options));
      if (cache.ok()) {
        EXPECT_GE(call, 6) << "five pools, tables and rope tables: each can fail";
        return;
      }
      EXPECT_EQ(cache.status().code(), absl::StatusCode::kResourceExhausted) << cache.status();
    }
    EXPECT_TRUE(resource.live.empty()) << "at call " << call;
    ASSERT_LT(call, 100);
  }
}

}  // namespace
}  // namespace terrace::testing
