#include "tools/terrace/npy.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tools/npy_files.h"

namespace terrace::testing {
namespace {

using tools::ParseNpy;
using tools::ReadNpy;
using tools::WriteNpy;

using ::testing::ElementsAre;

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

}  // namespace
}  // namespace terrace::testing
