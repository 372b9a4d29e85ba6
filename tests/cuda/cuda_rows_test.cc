// The Write and Gather kernels against the golden vectors and against the host backend: the same
// bits for every format, page size and input.

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "terrace/formats/rope.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/support/golden.h"
#include "tests/support/row_formats.h"

namespace terrace::testing {
namespace {

// Says where two arrays part, not all that they hold.
template <typename T>
void ExpectSame(const std::vector<T>& actual, const std::vector<T>& expected, const char* what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  const auto at = std::mismatch(actual.begin(), actual.end(), expected.begin());
  EXPECT_TRUE(at.first == actual.end())
      << what << " differ first at " << (at.first - actual.begin()) << ": " << +*at.first
      << ", not " << +*at.second;
}

template <typename T>
std::vector<T> Values(const NpyArray& array) {
  const int64_t count = static_cast<int64_t>(array.bytes.size() / sizeof(T));
  return std::vector<T>(array.data<T>(), array.data<T>() + count);
}

std::vector<int32_t> Iota(int64_t count) {
  std::vector<int32_t> values(count);
  std::iota(values.begin(), values.end(), 0);
  return values;
}

class CudaRowsTest : public CudaTest, public ::testing::WithParamInterface<RowFormat> {};

INSTANTIATE_TEST_SUITE_P(Formats, CudaRowsTest, ::testing::ValuesIn(AllRowFormats()),
                         [](const auto& info) { return NameOf(info.param); });

TEST_P(CudaRowsTest, RowsOfAnyBitsAreWrittenAndReadAsTheHostDoes) {
  constexpr int32_t kPositions = 200;
  const std::vector<float> table = MakeRopeTable(kPositions, kWindowRope);
  const RowFormat format = GetParam();
  for (const int32_t log2_entries : {1, 4, 5, 6, 7, 8}) {
    for (const bool rotate : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "2^" << log2_entries << " entries, rotate " << rotate);
      std::mt19937_64 random(log2_entries * 2 + rotate);
      const PlaneOptions options = {.format = format,
                                    .log2_entries_per_block = log2_entries,
                                    .blocks = 1024 >> log2_entries,
                                    .global_scale = rotate ? 1.0f : 0.0123f};
      TestPlane cuda(*cuda_, options);
      TestPlane host(*host_, options);

      // Distinct slots, some of them none or outside; positions, some outside.
      std::vector<int32_t> slots = Iota(cuda.num_slots());
      std::shuffle(slots.begin(), slots.end(), random);
      slots.resize(777);
      std::vector<int32_t> positions(slots.size());
      for (size_t i = 0; i < slots.size(); ++i) {
        if (i % 11 == 0) slots[i] = -1;
        if (i % 13 == 5) slots[i] = i % 2 == 0 ? -7 : cuda.num_slots() + static_cast<int32_t>(i);
        positions[i] = static_cast<int32_t>(random() % kPositions);
        if (i % 17 == 3) positions[i] = i % 2 == 0 ? -1 : kPositions;
      }
      const std::vector<float> used = rotate ? table : std::vector<float>();
      const std::vector<uint16_t> rows =
          RandomRows(random, static_cast<int64_t>(slots.size()), cuda.channels(), true);
      cuda.Write(rows, slots, positions, used);
      host.Write(rows, slots, positions, used);
      ExpectSame(cuda.Bytes(), host.Bytes(), "pages");

      const int64_t pitch = cuda.channels() + (rotate ? 64 : 0);
      ExpectSame(cuda.Read(slots, pitch, positions, used), host.Read(slots, pitch, positions, used),
                 "rows");
      EXPECT_TRUE(cuda_->ReadCounters() == host_->ReadCounters());
      EXPECT_GT(cuda_->ReadCounters().nonfinite_values, 0u);
      EXPECT_GT(cuda_->ReadCounters().skipped_slots, 0u);
      if (rotate) {
        EXPECT_GT(cuda_->ReadCounters().skipped_positions, 0u);
      }
    }
  }
}

TEST_P(CudaRowsTest, PagesOfAnyBytesAreReadAsTheHostDoes) {
  std::mt19937_64 random(7);
  const PlaneOptions options = {.format = GetParam(), .global_scale = 0.5f};
  TestPlane cuda(*cuda_, options);
  TestPlane host(*host_, options);
  std::vector<uint8_t> bytes(cuda.num_bytes());
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  ASSERT_TRUE(cuda_->Upload(cuda.data(), bytes.data(), cuda.num_bytes(), Stream{}).ok());
  ASSERT_TRUE(host_->Upload(host.data(), bytes.data(), host.num_bytes(), Stream{}).ok());
  const std::vector<int32_t> slots = Iota(cuda.num_slots());
  ExpectSame(cuda.Read(slots, cuda.channels()), host.Read(slots, host.channels()), "rows");
}

TEST_P(CudaRowsTest, RowsBeyondFourGigabytesAreWrittenAndRead) {
  constexpr int64_t kBlockStride = 962'496;  // a CSA block of DeepSeek-V4-Flash
  const PlaneOptions options = {.format = GetParam(), .blocks = 4700, .block_stride = kBlockStride};
  TestPlane cuda(*cuda_, options);
  std::mt19937_64 random(11);
  // Borders of 2^31 and 2^32 bytes, and the last slot.
  std::vector<int32_t> slots;
  for (const int64_t byte : {int64_t{0}, int64_t{1} << 31, int64_t{1} << 32}) {
    const int32_t block = static_cast<int32_t>(byte / kBlockStride);
    for (int32_t slot = block * 64; slot < (block + 2) * 64; slot += 9) slots.push_back(slot);
  }
  slots.push_back(cuda.num_slots() - 1);
  const int64_t count = static_cast<int64_t>(slots.size());
  const std::vector<uint16_t> rows = RandomRows(random, count, cuda.channels(), false);
  cuda.Write(rows, slots);

  // The same rows in a small host plane, one after the other.
  TestPlane host(*host_, {.format = GetParam(), .blocks = 2});
  ASSERT_LE(count, host.num_slots());
  host.Write(rows, Iota(count));
  const std::vector<uint8_t> expected = host.Bytes();
  const RowLayout layout = LayoutOf(GetParam());
  const auto row_bytes = [&](TestPlane& plane, const auto& download, int32_t slot) {
    const PlanePages pages = plane.pages();
    const int64_t page = (slot / 64) * pages.block_stride;
    std::vector<uint8_t> bytes =
        download(page + slot % 64 * layout.data_stride(), layout.data_bytes);
    const std::vector<uint8_t> scale =
        download(page + pages.scale_offset + slot % 64 * layout.scale_stride(), layout.scale_bytes);
    bytes.insert(bytes.end(), scale.begin(), scale.end());
    return bytes;
  };
  for (int64_t i = 0; i < count; ++i) {
    const auto from_cuda = [&](int64_t at, int64_t size) {
      return DownloadArray<uint8_t>(*cuda_, cuda.data() + at, size);
    };
    const auto from_host = [&](int64_t at, int64_t size) {
      return std::vector<uint8_t>(expected.begin() + at, expected.begin() + at + size);
    };
    ExpectSame(row_bytes(cuda, from_cuda, slots[i]),
               row_bytes(host, from_host, static_cast<int32_t>(i)), "row bytes");
  }
  ExpectSame(cuda.Read(slots, cuda.channels()), host.Read(Iota(count), host.channels()), "rows");
}

class CudaGoldenTest : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    if (!ReadNpy(GoldenPath("flashmla_v4_page64/kv.npy")).ok()) {
      GTEST_SKIP() << "no golden vectors in " << GoldenPath("") << "; set TERRACE_TEST_DATA";
    }
  }

  // Writes golden rows to slots 0, 1, ... and compares the pages; reads them and compares the rows.
  void ExpectGoldenPages(RowFormat format, int32_t log2_entries, const NpyArray& rows,
                         const NpyArray& pages, const NpyArray& dequant,
                         const NpyArray* table = nullptr, float global_scale = 1) {
    TestPlane plane(*cuda_, {.format = format,
                             .log2_entries_per_block = log2_entries,
                             .blocks = static_cast<int32_t>(pages.shape[0]),
                             .block_stride = pages.shape[1],
                             .global_scale = global_scale});
    const std::vector<uint16_t> values = Values<uint16_t>(rows);
    const std::vector<int32_t> slots = Iota(static_cast<int64_t>(values.size()) / plane.channels());
    plane.Write(values, slots, slots,
                table == nullptr ? std::vector<float>() : Values<float>(*table));
    ExpectSame(plane.Bytes(), pages.bytes, "pages");
    ExpectSame(plane.Read(slots, plane.channels()), Values<uint16_t>(dequant), "rows");
  }

  // The same for vectors that come as codes and scales: one page of at least so many entries.
  void ExpectGoldenCodes(RowFormat format, const std::string& folder, const NpyArray& scales,
                         float global_scale) {
    SCOPED_TRACE(folder);
    const NpyArray rows = Golden(folder + "/kv");
    const NpyArray codes = Golden(folder + "/codes");
    int32_t log2_entries = 0;
    while ((int64_t{1} << log2_entries) < rows.shape[0]) ++log2_entries;
    TestPlane plane(*cuda_, {.format = format,
                             .log2_entries_per_block = log2_entries,
                             .blocks = 1,
                             .global_scale = global_scale});
    const std::vector<int32_t> slots = Iota(rows.shape[0]);
    plane.Write(Values<uint16_t>(rows), slots);
    const std::vector<uint8_t> bytes = plane.Bytes();
    EXPECT_EQ(std::memcmp(bytes.data(), codes.bytes.data(), codes.bytes.size()), 0);
    EXPECT_EQ(std::memcmp(bytes.data() + plane.pages().scale_offset, scales.bytes.data(),
                          scales.bytes.size()),
              0);
    ExpectSame(plane.Read(slots, plane.channels()), Values<uint16_t>(Golden(folder + "/dequant")),
               "rows");
  }
};

TEST_F(CudaGoldenTest, RotatedPagesOfEverySizeEqualTheGoldenOnes) {
  struct Case {
    const char* folder;
    RowFormat format;
    int32_t log2_entries;
  };
  for (const Case& c : {Case{"flashmla_v4_page64", RowFormat::kFlashMlaV4, 6},
                        Case{"flashmla_v4_page16", RowFormat::kFlashMlaV4, 4},
                        Case{"flashmla_v4_page2", RowFormat::kFlashMlaV4, 1},
                        Case{"flashmla_v4_page64_partial", RowFormat::kFlashMlaV4, 6},
                        Case{"mxfp8_v41_page64", RowFormat::kMxfp8V41, 6},
                        Case{"nvfp4_v41_page64", RowFormat::kNvfp4, 6}}) {
    SCOPED_TRACE(c.folder);
    const std::string folder(c.folder);
    const NpyArray table = Golden(folder + "/table");
    ExpectGoldenPages(c.format, c.log2_entries, Golden(folder + "/kv"), Golden(folder + "/pages"),
                      Golden(folder + "/dequant"), &table);
  }
}

TEST_F(CudaGoldenTest, PagesOfExactArithmeticEqualTheGoldenOnes) {
  const NpyArray all = Golden("mxfp8_v41_page64/kv");
  const NpyArray table = Golden("mxfp8_v41_page64/table");
  for (const std::string name : {"mxfp8_v41_il", "nvfp4_v41_il", "fp8_per_tensor", "nvfp4_rope"}) {
    const RowFormat format = ParseRowFormat(name).value();
    SCOPED_TRACE(name);
    ExpectGoldenPages(format, 6, all, Golden(name + "_page64/pages"),
                      Golden(name + "_page64/dequant"), &table);
  }
  const NpyArray rows = {
      all.type, {64, 512}, {all.bytes.begin(), all.bytes.begin() + int64_t{64} * 1024}};
  for (const auto& [name, folder] : {std::pair("fp8_per_tensor", "fp8_per_tensor_odd_scale"),
                                     std::pair("fp8_per_tensor", "fp8_per_tensor_tiny_scale"),
                                     std::pair("nvfp4_rope", "nvfp4_rope_odd_scale"),
                                     std::pair("nvfp4_v41_il", "nvfp4_v41_il_odd_scale")}) {
    SCOPED_TRACE(folder);
    const std::string at(folder);
    ExpectGoldenPages(ParseRowFormat(name).value(), 6, rows, Golden(at + "/pages"),
                      Golden(at + "/dequant"), &table, *Golden(at + "/global_scale").data<float>());
  }
}

TEST_F(CudaGoldenTest, IndexerPagesEqualTheGoldenOnes) {
  for (const RowFormat format : {RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4}) {
    const std::string folder = NameOf(format) + "_page64";
    SCOPED_TRACE(folder);
    ExpectGoldenPages(format, 6, Golden(folder + "/k"), Golden(folder + "/pages"),
                      Golden(folder + "/dequant"));
  }
}

TEST_F(CudaGoldenTest, EveryBf16PatternAndEveryScaleEdgeEqualTheGoldenOnes) {
  for (const std::string folder : {"every_bf16", "scale_edges"}) {
    const NpyArray rows = Golden(folder + "/kv");
    for (const RowFormat format :
         {RowFormat::kFlashMlaV4, RowFormat::kMxfp8V41, RowFormat::kIndexerFp8,
          RowFormat::kIndexerMxfp4, RowFormat::kNvfp4, RowFormat::kMxfp8V41Il,
          RowFormat::kNvfp4V41Il, RowFormat::kFp8PerTensor, RowFormat::kNvfp4Rope}) {
      const std::string name = folder + "/" + NameOf(format);
      SCOPED_TRACE(name);
      const uint64_t before = cuda_->ReadCounters().nonfinite_values;
      ExpectGoldenPages(format, 6, rows, Golden(name + "_pages"), Golden(name + "_dequant"));
      // 2 x 127 NaN and 2 infinities.
      EXPECT_EQ(cuda_->ReadCounters().nonfinite_values - before,
                folder == "every_bf16" ? 256u : 0u);
    }
  }
}

TEST_F(CudaGoldenTest, CodesAndScalesOfTheSourceSystemsFormatsEqualTheGoldenOnes) {
  ExpectGoldenCodes(RowFormat::kFp8PerToken, "fp8_per_token", Golden("fp8_per_token/inv_scale"), 1);
  for (const std::string folder :
       {"nvfp4", "nvfp4_unit_scale", "nvfp4_odd_scale", "nvfp4_saturating"}) {
    ExpectGoldenCodes(RowFormat::kNvfp4, folder, Golden(folder + "/scales"),
                      *Golden(folder + "/global_scale").data<float>());
  }
}

TEST_F(CudaGoldenTest, RotationAfterLoadEqualsTheGoldenRows) {
  const NpyArray rows = Golden("fp8_per_token/kv");
  TestPlane plane(*cuda_, {.format = RowFormat::kFp8PerToken,
                           .blocks = static_cast<int32_t>((rows.shape[0] + 63) / 64)});
  const std::vector<int32_t> slots = Iota(rows.shape[0]);
  plane.Write(Values<uint16_t>(rows), slots);
  ExpectSame(
      plane.Read(slots, plane.channels(), slots, Values<float>(Golden("fp8_per_token/table"))),
      Values<uint16_t>(Golden("fp8_per_token/dequant_rope")), "rows");
}

using CudaWriteTest = CudaTest;

// Three planes of any formats, their counts in the backend's memory, in one launch.
std::vector<std::vector<uint8_t>> WriteThree(Backend& backend, const RowFormat (&formats)[3]) {
  constexpr int32_t kMaxRows = 100;
  std::mt19937_64 random(3);
  BackendArray<int32_t> counts(backend, {37, 0, 1000});  // fewer, none, and more than fit
  BackendArray<int32_t> slots(backend, Iota(kMaxRows));
  std::vector<std::unique_ptr<TestPlane>> planes;
  std::vector<std::unique_ptr<BackendArray<uint16_t>>> rows;
  WriteParams params{};
  params.counters = backend.counters();
  params.num_segments = 3;
  for (int i = 0; i < 3; ++i) {
    planes.push_back(std::make_unique<TestPlane>(backend, PlaneOptions{.format = formats[i]}));
    const int32_t channels = planes[i]->channels();
    rows.push_back(std::make_unique<BackendArray<uint16_t>>(
        backend, RandomRows(random, kMaxRows, channels + 8, false)));
    params.segments[i].rows = rows[i]->data();
    params.segments[i].row_pitch = channels + 8;
    params.segments[i].count = counts.data() + i;
    params.segments[i].max_rows = kMaxRows;
    params.segments[i].slots = slots.data();
    params.segments[i].pages = planes[i]->pages();
  }
  const absl::Status status = KernelsOf(backend).Write(params, Stream{});
  EXPECT_TRUE(status.ok()) << status;
  std::vector<std::vector<uint8_t>> bytes;
  for (const auto& plane : planes) bytes.push_back(plane->Bytes());
  return bytes;
}

TEST_F(CudaWriteTest, ThreePlanesOfAnyFormatsAreOneLaunch) {
  for (const RowFormat window : LatentFormats()) {
    for (const RowFormat entries : LatentFormats()) {
      for (const RowFormat indexer : {RowFormat::kIndexerFp8, RowFormat::kIndexerMxfp4}) {
        SCOPED_TRACE(NameOf(window) + ", " + NameOf(entries) + ", " + NameOf(indexer));
        for (const bool swapped : {false, true}) {  // so that every plane is once the one of none
          const RowFormat formats[3] = {window, swapped ? indexer : entries,
                                        swapped ? entries : indexer};
          const auto cuda = WriteThree(*cuda_, formats);
          const auto host = WriteThree(*host_, formats);
          for (int i = 0; i < 3; ++i) ExpectSame(cuda[i], host[i], "pages");
        }
      }
    }
  }
}

TEST_F(CudaWriteTest, NoRowsWriteNothing) {
  TestPlane plane(*cuda_, {});
  plane.Write({}, {});
  EXPECT_EQ(plane.Bytes(), std::vector<uint8_t>(plane.num_bytes()));
  WriteParams nothing{};
  nothing.counters = cuda_->counters();
  EXPECT_TRUE(KernelsOf(*cuda_).Write(nothing, Stream{}).ok());
}

}  // namespace
}  // namespace terrace::testing
