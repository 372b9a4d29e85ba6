// Files that are no .npy files, or none that are supported.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/npy_files.h"
#include "tools/terrace/npy.h"

namespace terrace::testing {
namespace {

using tools::ParseNpy;
using tools::ReadNpy;
using tools::WriteNpy;

using ::testing::HasSubstr;

std::string MessageOf(absl::Span<const uint8_t> file) {
  const absl::StatusOr<NpyArray> array = ParseNpy(file);
  EXPECT_EQ(array.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(array.status().message().data(), array.status().message().size());
}

TEST(NpyErrorsTest, AFileThatIsCutAnywhereIsAnError) {
  const std::vector<uint8_t> file = FileBytes(SmallArray());
  for (size_t size = 0; size < file.size(); ++size) {
    MessageOf(absl::MakeConstSpan(file).first(size));
  }
}

TEST(NpyErrorsTest, AFileThatIsTooLongIsAnError) {
  std::vector<uint8_t> file = FileBytes(SmallArray());
  file.push_back(0);
  EXPECT_THAT(MessageOf(file), HasSubstr("its shape needs 12 bytes, it holds 13"));
}

TEST(NpyErrorsTest, ChangingAnyByteOfTheHeaderNeverCrashes) {
  const std::vector<uint8_t> file = FileBytes(SmallArray());
  for (size_t at = 0; at < FormatNpyHeader(SmallArray()).size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::vector<uint8_t> changed = file;
      changed[at] = static_cast<uint8_t>(value);
      const absl::StatusOr<NpyArray> read = ParseNpy(changed);
      if (read.ok()) {
        EXPECT_EQ(read->bytes.size(), 12u);
      }
    }
  }
}

TEST(NpyErrorsTest, WhatIsNotSupportedIsNamed) {
  const std::string tail = "', 'fortran_order': False, 'shape': (1,)}";
  EXPECT_THAT(MessageOf({}), HasSubstr("does not begin with"));
  EXPECT_THAT(MessageOf(FileWithHeader("{'descr': '>u2" + tail, 2)), HasSubstr("'>u2'"));
  EXPECT_THAT(MessageOf(FileWithHeader("{'descr': '<f8" + tail, 8)), HasSubstr("'<f8'"));
  EXPECT_THAT(
      MessageOf(FileWithHeader("{'descr': '|u1', 'fortran_order': True, 'shape': (1,)}", 1)),
      HasSubstr("Fortran"));
  std::vector<uint8_t> file = FileBytes(SmallArray());
  file[6] = 3;
  EXPECT_THAT(MessageOf(file), HasSubstr("format 3.0"));
}

TEST(NpyErrorsTest, GarbledHeadersAreErrors) {
  for (const char* header : {
           "",
           "[]",
           "{",
           "{'descr': '|u1'",
           "{'descr' '|u1'}",
           "{'descr': ('a', 'b')}",
           "{'descr': '|u1', 'fortran_order': 0, 'shape': (1,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': [1]}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (1 1)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
           "{'descr': '|u1', 'fortran_order': False}",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (1,)} x",
           "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), 'color': 'red'}",
           "{'descr': '|u1' 'fortran_order': False, 'shape': (1,)}",
       }) {
    SCOPED_TRACE(header);
    MessageOf(FileWithHeader(header, 1));
  }
}

TEST(NpyErrorsTest, AMissingFileIsNotFoundAndNamed) {
  const absl::StatusOr<NpyArray> array = ReadNpy("/nowhere/rows.npy");
  EXPECT_EQ(array.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(array.status().ToString()), HasSubstr("/nowhere/rows.npy"));
  EXPECT_FALSE(WriteNpy("/nowhere/rows.npy", SmallArray()).ok());
  EXPECT_FALSE(ReadNpy(::testing::TempDir()).ok());
}

}  // namespace
}  // namespace terrace::testing
