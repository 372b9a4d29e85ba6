// A cache in memory that the engine has already, as docs/guide.md shows it.

#include <cstdint>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/cache.h"
#include "terrace/units.h"
#include "tests/support/compress_fixture.h"

namespace terrace::testing {
namespace {

// Hands out the engine's memory from its beginning.
class EngineMemory final : public MemoryResource {
 public:
  EngineMemory(uint8_t* begin, int64_t bytes) : begin_(begin), bytes_(bytes) {}

  void* Allocate(int64_t bytes, int64_t alignment, Stream /*stream*/) override {
    const int64_t at = RoundUp(used_, alignment);
    if (bytes > bytes_ - at) return nullptr;  // whoever asked gets ResourceExhausted
    used_ = at + bytes;
    return begin_ + at;
  }

  void Deallocate(void* /*memory*/, int64_t /*bytes*/, Stream /*stream*/) override {
    // The engine takes all of it back at once, behind the work on its streams.
  }

 private:
  uint8_t* const begin_;  // at a multiple of 256
  const int64_t bytes_;
  int64_t used_ = 0;
};

class EngineMemoryTest : public CompressTest {
 protected:
  // A cache in the first `bytes` of the engine's memory.
  absl::StatusOr<std::unique_ptr<Cache>> MakeCache(int64_t bytes) {
    memory_ = std::make_unique<EngineMemory>(static_cast<uint8_t*>(*engine_), bytes);
    return Cache::Create(
        {.model = DeepSeekV4Flash(),
         .memory_bytes = 64 * kMiB,
         .limits = {.max_sequences = 2, .max_step_tokens = 64, .max_context_tokens = 1024},
         .backend = {.kind = GetParam(), .host_threads = 1, .memory = memory_.get()}});
  }

  void SetUp() override {
    CompressTest::SetUp();
    if (IsSkipped()) return;
    engine_ = backend_->Allocate(kBytes, Stream{});
    ASSERT_TRUE(engine_.ok()) << engine_.status();
  }

  static constexpr int64_t kBytes = 70 * kMiB;
  absl::StatusOr<void*> engine_;
  std::unique_ptr<EngineMemory> memory_;
};

INSTANTIATE_TEST_SUITE_P(Backends, EngineMemoryTest, kEveryBackend, NameOfBackend);

TEST_P(EngineMemoryTest, HoldsEveryPageAndAStepRunsThere) {
  const auto cache = MakeCache(kBytes);
  ASSERT_TRUE(cache.ok()) << cache.status();
  const uint8_t* const begin = static_cast<const uint8_t*>(*engine_);
  const LayerRange layers = (*cache)->store().layers();
  for (int layer = layers.first; layer < layers.first + layers.count; ++layer) {
    const PageView pages = *(*cache)->Pages(layer, PoolKind::kWindow);
    const uint8_t* const base = static_cast<const uint8_t*>(pages.base);
    EXPECT_GE(base, begin);
    EXPECT_LE(base + pages.num_blocks * pages.block_stride, begin + kBytes);
  }
  const auto admission = (*cache)->AllocateSequence({.tokens = std::vector<int32_t>(64, 1)});
  ASSERT_TRUE(admission.ok()) << admission.status();
  const auto plan = (*cache)->Append({{admission->id, 64}});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE((*cache)->Begin(*plan, Stream{}).ok());
}

TEST_P(EngineMemoryTest, ThatIsTooSmallIsAShortage) {
  for (const int64_t bytes : {int64_t{0}, kMiB, 63 * kMiB}) {
    EXPECT_EQ(MakeCache(bytes).status().code(), absl::StatusCode::kResourceExhausted) << bytes;
  }
}

}  // namespace
}  // namespace terrace::testing
