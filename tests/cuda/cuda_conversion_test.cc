// The device's conversions equal the software's for every one of the 2^32 floats and for every
// code.

#include <vector>

#include "tests/cuda/cuda_conversion_kernels.h"
#include "tests/cuda/cuda_fixture.h"

namespace terrace::testing {
namespace {

class CudaConversionTest : public CudaTest {
 protected:
  ConversionResult Run(int (*compare)(ConversionResult*)) {
    BackendArray<ConversionResult> result(*cuda_, 1);
    EXPECT_EQ(compare(result.data()), 0);
    return result.Read()[0];
  }
  void ExpectNone(int (*compare)(ConversionResult*)) {
    const ConversionResult result = Run(compare);
    EXPECT_EQ(result.hardware, 1u);
    EXPECT_EQ(result.mismatches, 0u) << "for example the value of bits " << result.example;
  }
};

TEST_F(CudaConversionTest, HardwareE4m3EqualsSoftwareForEveryFloat) {
  const ConversionResult result = Run(CompareE4m3);
  EXPECT_EQ(result.mismatches, 0u) << "for example the float of bits " << result.example;
  if (result.hardware == 0) GTEST_SKIP() << "this architecture has no e4m3 instruction";
}

TEST_F(CudaConversionTest, DeviceE2m1EqualsSoftwareForEveryFloat) { ExpectNone(CompareE2m1); }

TEST_F(CudaConversionTest, DeviceBf16EqualsSoftwareForEveryFloat) { ExpectNone(CompareBf16); }

TEST_F(CudaConversionTest, DeviceValuesOfEveryCodeEqualSoftware) { ExpectNone(CompareCodes); }

TEST_F(CudaConversionTest, QuotientsByAReciprocalHaveTheCodesOfDivision) {
  ExpectNone(CompareQuotients);
}

TEST_F(CudaConversionTest, PacketsHaveTheCodesOfDivisionUnderEveryScale) {
  ExpectNone(ComparePackets);
}

}  // namespace
}  // namespace terrace::testing
