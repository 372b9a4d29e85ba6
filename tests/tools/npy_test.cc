#include "tools/terrace/npy.h"

#include <cstdio>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using tools::FormatNpyHeader;
using tools::MakeNpyArray;
using tools::NpyArray;
using tools::ParseNpy;
using tools::ReadNpy;
using tools::WriteNpy;

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<uint8_t> FileBytes(const NpyArray& array) {
  const std::string header = FormatNpyHeader(array);
  std::vector<uint8_t> file(header.begin(), header.end());
  file.insert(file.end(), array.bytes.begin(), array.bytes.end());
  return file;
}

// A file of format 1.0 with this header text and `content` zero bytes.
std::vector<uint8_t> FileWithHeader(const std::string& header, size_t content) {
  std::vector<uint8_t> file = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  file.push_back(static_cast<uint8_t>(header.size() & 255));
  file.push_back(static_cast<uint8_t>(header.size() >> 8));
  file.insert(file.end(), header.begin(), header.end());
  file.resize(file.size() + content);
  return file;
}

std::string ErrorOf(absl::Span<const uint8_t> file) {
  const absl::StatusOr<NpyArray> array = ParseNpy(file);
  EXPECT_EQ(array.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(array.status().message().data(), array.status().message().size());
}

NpyArray SmallArray() { return MakeNpyArray<uint16_t>({2, 3}, {1, 2, 3, 4, 5, 0xFFFF}); }

TEST(NpyTest, EveryTypeComesBackAsItWasWritten) {
  const NpyArray arrays[] = {
      MakeNpyArray<uint8_t>({3}, {0, 1, 255}), SmallArray(),
      MakeNpyArray<int32_t>({1, 2}, {-5, 5}),  MakeNpyArray<int64_t>({1}, {int64_t{-1} << 40}),
      MakeNpyArray<float>({}, {0.25f}),        MakeNpyArray<float>({0, 64}, {}),
  };
  for (const NpyArray& array : arrays) {
    const absl::StatusOr<NpyArray> read = ParseNpy(FileBytes(array));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->type, array.type);
    EXPECT_EQ(read->shape, array.shape);
    EXPECT_EQ(read->bytes, array.bytes);
  }
}

TEST(NpyTest, ElementsBeginOnAMultipleOf64Bytes) {
  EXPECT_EQ(FormatNpyHeader(SmallArray()).size() % 64, 0u);
}

TEST(NpyTest, FilesComeBackAsTheyWereWritten) {
  const std::string path = ::testing::TempDir() + "/npy_test.npy";
  ASSERT_TRUE(WriteNpy(path, SmallArray()).ok());
  const absl::StatusOr<NpyArray> read = ReadNpy(path);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->shape, ElementsAre(2, 3));
  EXPECT_EQ(read->data<uint16_t>()[5], 0xFFFF);
  std::remove(path.c_str());
}

TEST(NpyTest, TheOtherSpellingsOfAHeaderAreRead) {
  for (const char* header : {
           "{\"shape\":(4,),\"fortran_order\":False,\"descr\":\"|u1\"}",
           "{'descr': '<u1', 'fortran_order': False, 'shape': ( 2 , 2 ) , }    \n",
       }) {
    const absl::StatusOr<NpyArray> read = ParseNpy(FileWithHeader(header, 4));
    EXPECT_TRUE(read.ok()) << header << ": " << read.status();
  }
  // Format 2.0 has a header length of four bytes.
  std::vector<uint8_t> file = FileBytes(SmallArray());
  file[6] = 2;
  file.insert(file.begin() + 10, {0, 0});
  EXPECT_TRUE(ParseNpy(file).ok());
}

TEST(NpyTest, AFileThatIsCutAnywhereIsAnError) {
  const std::vector<uint8_t> file = FileBytes(SmallArray());
  for (size_t size = 0; size < file.size(); ++size) {
    ErrorOf(absl::MakeConstSpan(file).first(size));
  }
}

TEST(NpyTest, AFileThatIsTooLongIsAnError) {
  std::vector<uint8_t> file = FileBytes(SmallArray());
  file.push_back(0);
  EXPECT_THAT(ErrorOf(file), HasSubstr("its shape needs 12 bytes, it holds 13"));
}

TEST(NpyTest, ChangingAnyByteOfTheHeaderNeverCrashes) {
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

TEST(NpyTest, WhatIsNotSupportedIsNamed) {
  const std::string tail = "', 'fortran_order': False, 'shape': (1,)}";
  EXPECT_THAT(ErrorOf({}), HasSubstr("does not begin with"));
  EXPECT_THAT(ErrorOf(FileWithHeader("{'descr': '>u2" + tail, 2)), HasSubstr("'>u2'"));
  EXPECT_THAT(ErrorOf(FileWithHeader("{'descr': '<f8" + tail, 8)), HasSubstr("'<f8'"));
  EXPECT_THAT(ErrorOf(FileWithHeader("{'descr': '|u1', 'fortran_order': True, 'shape': (1,)}", 1)),
              HasSubstr("Fortran"));
  std::vector<uint8_t> file = FileBytes(SmallArray());
  file[6] = 3;
  EXPECT_THAT(ErrorOf(file), HasSubstr("format 3.0"));
}

TEST(NpyTest, GarbledHeadersAreErrors) {
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
    ErrorOf(FileWithHeader(header, 1));
  }
}

TEST(NpyTest, AMissingFileIsNotFoundAndNamed) {
  const absl::StatusOr<NpyArray> array = ReadNpy("/nowhere/rows.npy");
  EXPECT_EQ(array.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(array.status().ToString()), HasSubstr("/nowhere/rows.npy"));
  EXPECT_FALSE(WriteNpy("/nowhere/rows.npy", SmallArray()).ok());
  EXPECT_FALSE(ReadNpy(::testing::TempDir()).ok());
}

}  // namespace
}  // namespace terrace::testing
