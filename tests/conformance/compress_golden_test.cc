// What Compress stores against golden vectors, over every backend.

#include <vector>

#include "gtest/gtest.h"
#include "terrace/formats/rope.h"
#include "tests/support/compress_fixture.h"
#include "tests/support/golden_layer.h"

namespace terrace::testing {
namespace {

class CompressGoldenTest : public CompressTest {
 protected:
  static std::vector<float> Table() { return MakeRopeTable(512, kCompressedRope); }
};

TEST_P(CompressGoldenTest, CsaStoresTheGoldenEntries) {
  for (const bool fp8 : {true, false}) {
    GoldenLayer layer(backend_, 4, fp8 ? RowFormat::kFlashMlaV4 : RowFormat::kBf16,
                      fp8 ? RowFormat::kIndexerFp8 : RowFormat::kIndexerMxfp4, Table());
    layer.Compress({.latent = layer.Plane("compress_csa"),
                    .indexer = layer.Plane("compress_csa_indexer"),
                    .eps = *Golden("compress_csa/eps").data<float>()},
                   71);
    const int entries = 17;
    ASSERT_EQ(Golden("compress_csa/entry").shape[0], entries);
    const std::vector<uint16_t> latent = layer.Rows(PlaneKind::kLatent, entries, 512);
    const std::vector<uint16_t> indexer = layer.Rows(PlaneKind::kIndexer, entries, 128);
    if (fp8) {
      ExpectDecoded(latent, Golden("compress_csa/dequant"), 512, kE4m3Step, kE4m3Least);
      // The golden page is filled up with zero rows.
      ExpectDecoded(indexer, Golden("compress_csa_indexer/dequant_fp8"), 128, kE4m3Step,
                    kE4m3Least);
    } else {
      ExpectDecoded(latent, Golden("compress_csa/entry"), 512, kBf16Step, 0);
      ExpectDecoded(indexer, Golden("compress_csa_indexer/dequant_mxfp4"), 128, kE2m1Step,
                    kE2m1Least);
    }
  }
}

TEST_P(CompressGoldenTest, HcaStoresTheGoldenEntries) {
  for (const bool fp8 : {true, false}) {
    GoldenLayer layer(backend_, 128, fp8 ? RowFormat::kFlashMlaV4 : RowFormat::kBf16,
                      RowFormat::kIndexerFp8, Table());
    layer.Compress(
        {.latent = layer.Plane("compress_hca"), .eps = *Golden("compress_hca/eps").data<float>()},
        300);
    const std::vector<uint16_t> latent = layer.Rows(PlaneKind::kLatent, 2, 512);
    if (fp8) {
      ExpectDecoded(latent, Golden("compress_hca/dequant"), 512, kE4m3Step, kE4m3Least);
    } else {
      ExpectDecoded(latent, Golden("compress_hca/entry"), 512, kBf16Step, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, CompressGoldenTest, kEveryBackend, NameOfBackend);

}  // namespace
}  // namespace terrace::testing
