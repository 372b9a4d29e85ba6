// What the GPU tests share: a cuda and a host backend, and one plane of a pool in either.

#ifndef TERRACE_TESTS_CUDA_CUDA_FIXTURE_H_
#define TERRACE_TESTS_CUDA_CUDA_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "src/backend/kernel_backend.h"
#include "src/ops/gather_params.h"
#include "src/ops/write_params.h"
#include "terrace/backend.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/row_format.h"
#include "tests/support/backend_array.h"

namespace terrace::testing {

using internal::GatherParams;
using internal::KernelBackend;
using internal::PlanePages;
using internal::SelectKind;
using internal::WriteParams;
using internal::WriteSegment;

// The kernel calls of a backend of the library.
inline KernelBackend& KernelsOf(Backend& backend) { return *KernelBackend::Of(backend); }

// Skips its tests, with the runtime's reason, where no GPU is usable.
class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto cuda = MakeBackend({.kind = BackendKind::kCuda});
    if (!cuda.ok()) GTEST_SKIP() << cuda.status();
    cuda_ = *std::move(cuda);
    auto host = MakeBackend({.kind = BackendKind::kHost, .host_threads = 1});
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }

  std::unique_ptr<Backend> cuda_;
  std::unique_ptr<Backend> host_;
};

struct PlaneOptions {
  RowFormat format = RowFormat::kFlashMlaV4;
  int32_t log2_entries_per_block = 6;
  int32_t blocks = 8;
  int64_t block_stride = 0;  // 0: the page, rounded up to 16
  float global_scale = 1;
};

// The bytes of one plane, zero at first, on one backend.
class TestPlane {
 public:
  TestPlane(Backend& backend, const PlaneOptions& options)
      : options_(Filled(options)),
        backend_(backend),
        bytes_(backend, options_.blocks * options_.block_stride) {}

  int32_t num_slots() const { return options_.blocks << options_.log2_entries_per_block; }
  int64_t num_bytes() const { return options_.blocks * options_.block_stride; }
  int32_t channels() const { return LayoutOf(options_.format).channels; }
  uint8_t* data() { return bytes_.data(); }
  std::vector<uint8_t> Bytes() { return bytes_.Read(); }

  PlanePages pages() {
    const int64_t entries = int64_t{1} << options_.log2_entries_per_block;
    return {.base = bytes_.data(),
            .block_stride = options_.block_stride,
            .scale_offset = LayoutOf(options_.format).scale_offset(entries),
            .log2_entries_per_block = options_.log2_entries_per_block,
            .num_slots = num_slots(),
            .format = options_.format,
            .global_scale = options_.global_scale};
  }

  // Rows of `channels` bf16 to their slots. `table` holds rows of 64 floats; empty: no rotation.
  void Write(const std::vector<uint16_t>& rows, const std::vector<int32_t>& slots,
             const std::vector<int32_t>& positions = {}, const std::vector<float>& table = {}) {
    BackendArray<uint16_t> device_rows(backend_, rows);
    BackendArray<int32_t> device_slots(backend_, slots);
    BackendArray<int32_t> device_positions(backend_, positions);
    BackendArray<float> device_table(backend_, table);
    WriteParams params{};
    params.num_segments = 1;
    params.counters = backend_.counters();
    WriteSegment& segment = params.segments[0];
    segment.rows = device_rows.data();
    segment.row_pitch = channels();
    segment.max_rows = static_cast<int32_t>(slots.size());
    segment.slots = device_slots.data();
    segment.pages = pages();
    if (!table.empty()) {
      segment.positions = device_positions.data();
      segment.rope = {device_table.data(), static_cast<int32_t>(table.size() / kRopeChannels)};
    }
    const absl::Status status = KernelsOf(backend_).Write(params, Stream{});
    EXPECT_TRUE(status.ok()) << status;
  }

  // The rows of `slots`, `pitch` elements apart; what lies between them keeps the pattern 0xA5A5.
  std::vector<uint16_t> Read(const std::vector<int32_t>& slots, int64_t pitch,
                             const std::vector<int32_t>& positions = {},
                             const std::vector<float>& table = {}) {
    BackendArray<int32_t> device_slots(backend_, slots);
    BackendArray<int32_t> device_positions(backend_, positions);
    BackendArray<float> device_table(backend_, table);
    BackendArray<uint16_t> out(backend_, std::vector<uint16_t>(slots.size() * pitch, 0xA5A5));
    GatherParams params{};
    params.select.kind = SelectKind::kSlots;
    params.select.num_queries = 1;
    params.select.rows_per_query = static_cast<int32_t>(slots.size());
    params.select.entries = device_slots.data();
    params.select.entries_pitch = static_cast<int64_t>(slots.size());
    params.select.num_slots = num_slots();
    params.select.counters = backend_.counters();
    params.pages = pages();
    params.out = out.data();
    params.out_row_pitch = pitch;
    params.out_query_pitch = pitch * static_cast<int64_t>(slots.size());
    if (!table.empty()) {
      params.select.positions = device_positions.data();
      params.rope = {device_table.data(), static_cast<int32_t>(table.size() / kRopeChannels)};
    }
    const absl::Status status = KernelsOf(backend_).Gather(params, Stream{});
    EXPECT_TRUE(status.ok()) << status;
    return out.Read();
  }

 private:
  static PlaneOptions Filled(PlaneOptions options) {
    const int64_t page = PageBytes(options.format, int64_t{1} << options.log2_entries_per_block);
    if (options.block_stride == 0) options.block_stride = (page + 15) / 16 * 16;
    return options;
  }

  PlaneOptions options_;
  Backend& backend_;
  BackendArray<uint8_t> bytes_;
};

// Rows as models make them: unit noise, outlier channels, quiet rows; and, where asked for, any bit
// pattern at all, NaN and infinities too.
inline std::vector<uint16_t> RandomRows(std::mt19937_64& random, int64_t rows, int32_t channels,
                                        bool any_bits) {
  std::normal_distribution<float> noise;
  std::vector<uint16_t> values(rows * channels);
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t kind = random() % 8;
    const float size = kind == 0 ? 1e-6f : (kind == 1 ? 300.0f : 1.0f);
    for (int32_t c = 0; c < channels; ++c) {
      const float outlier = random() % 64 == 0 ? 30.0f : 1.0f;
      const uint16_t made = Bf16FromFloat(noise(random) * size * outlier);
      const bool any = any_bits && (kind == 2 || random() % 128 == 0);
      values[row * channels + c] = any ? static_cast<uint16_t>(random()) : made;
    }
  }
  return values;
}

inline bool operator==(const Counters& a, const Counters& b) {
  return a.nonfinite_values == b.nonfinite_values && a.skipped_slots == b.skipped_slots &&
         a.skipped_entries == b.skipped_entries && a.skipped_positions == b.skipped_positions &&
         a.truncated_queries == b.truncated_queries && a.stale_states == b.stale_states &&
         a.first_stale_state == b.first_stale_state;
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_CUDA_CUDA_FIXTURE_H_
