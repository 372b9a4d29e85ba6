#include "src/model/page_layout.h"

#include <algorithm>
#include <random>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/model.h"
#include "tests/support/row_formats.h"

namespace terrace::testing {
namespace {

using internal::PlacePages;

PoolSpec Pool(const ModelSpec& model, const char* name) {
  return *std::find_if(model.pools.begin(), model.pools.end(),
                       [&](const PoolSpec& pool) { return pool.name == name; });
}

TEST(PageLayoutTest, ABlockOfFlashCsaIsRoundedUpOnceFor21Layers) {
  const PoolPages place = PlacePages(Pool(DeepSeekV4Flash(), "csa"), 21, 10);
  EXPECT_EQ(place.page_bytes[0], 37376);  // 64 x 584
  EXPECT_EQ(place.page_bytes[1], 8448);   // 64 x 132
  EXPECT_EQ(place.plane_offset[1], 37376);
  EXPECT_EQ(place.layer_stride, 37376 + 8448);
  EXPECT_EQ(place.block_stride, 962496);
  EXPECT_EQ(place.total_bytes, 9624960);
  EXPECT_EQ(place.page_padding_bytes_per_block, 0);
  EXPECT_EQ(place.block_padding_bytes_per_block, 962496 - 21 * (37376 + 8448));
}

TEST(PageLayoutTest, AnHcaPageOfTwoRowsIsPaddedToASectorAndNoMore) {
  const PoolPages place = PlacePages(Pool(DeepSeekV4Flash(), "hca"), 20, 1);
  EXPECT_EQ(place.page_bytes[0], 1168);
  EXPECT_EQ(place.layer_stride, 1184);
  EXPECT_EQ(place.page_padding_bytes_per_block, 20 * 16);
  EXPECT_EQ(place.block_stride, 42 * 576);
}

TEST(PageLayoutTest, ALayerMajorPoolIsOneDenseTensorALayer) {
  PoolSpec pool = Pool(DeepSeekV4Flash(), "csa");
  pool.layout = PoolLayout::kLayerMajor;
  const PoolPages place = PlacePages(pool, 21, 10);
  EXPECT_EQ(place.block_stride, 80 * 576);  // 45824 rounded up
  EXPECT_EQ(place.layer_stride, 10 * place.block_stride);
  EXPECT_EQ(place.total_bytes, 21 * place.layer_stride);
  EXPECT_EQ(place.copy_pieces, 21);
  EXPECT_EQ(place.copy_bytes, 37376 + 8448);
  EXPECT_EQ(place.block_padding_bytes_per_block, 21 * (80 * 576 - 45824));
}

TEST(PageLayoutTest, AnOverlapPageIsAsManyBytesAsItsPoolSays) {
  PoolSpec pool = Pool(DeepSeekV4Flash(), "overlap");
  PoolPages place = PlacePages(pool, 21, 10);
  EXPECT_EQ(place.page_bytes[0], 20480);
  EXPECT_EQ(place.layer_stride, 20480);
  EXPECT_EQ(place.block_stride, 21 * 20480);
  EXPECT_EQ(place.total_bytes, 10 * 21 * 20480);
  EXPECT_EQ(place.copy_pieces, 1);
  EXPECT_EQ(place.copy_bytes, 21 * 20480);
  EXPECT_EQ(place.useful_bytes_per_block, 21 * 20480);
  pool.layout = PoolLayout::kLayerMajor;
  pool.opaque_bytes = 40 * 16 + 16;
  place = PlacePages(pool, 21, 10);
  EXPECT_EQ(place.block_stride, 21 * 32);  // rounded up to a sector
  EXPECT_EQ(place.layer_stride, 10 * place.block_stride);
  EXPECT_EQ(place.copy_pieces, 21);
  EXPECT_EQ(place.page_padding_bytes_per_block, 21 * 16);
}

TEST(PageLayoutTest, AStoreWithoutLayersOfAPoolNeedsNoMemoryForIt) {
  for (const PoolLayout layout : {PoolLayout::kBlockMajor, PoolLayout::kLayerMajor}) {
    PoolSpec pool = Pool(DeepSeekV4Flash(), "csa");
    pool.layout = layout;
    EXPECT_EQ(PlacePages(pool, 0, 10).total_bytes, 0);
    EXPECT_EQ(PlacePages(pool, 0, 10).reserved_bytes_per_block(), 0);
  }
}

// Any pool: pages are aligned, inside the pool, apart from each other, and counted to the byte.
TEST(PageLayoutTest, PagesNeverOverlapAndEveryByteIsAccountedFor) {
  std::mt19937 random(7);
  const auto pick = [&](auto... values) {
    const std::vector<int64_t> list = {values...};
    return list[random() % list.size()];
  };
  for (int round = 0; round < 500; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed 7, round " << round);
    PoolSpec pool;
    pool.planes = {{LatentFormats()[random() % LatentFormats().size()], true}};
    if (random() % 2 == 0) {
      pool.planes.push_back({IndexerFormats()[random() % IndexerFormats().size()], true});
    }
    pool.entries_per_block = static_cast<int32_t>(pick(1, 2, 4, 16, 64, 256));
    pool.layout = static_cast<PoolLayout>(random() % 2);
    pool.page_align = pick(16, 32, 64);
    pool.block_align = pool.page_align * pick(1, 3, 9);
    const int32_t rows = static_cast<int32_t>(1 + random() % 5);
    const int64_t blocks = 1 + random() % 6;
    const PoolPages place = PlacePages(pool, rows, blocks);

    std::vector<std::pair<int64_t, int64_t>> pages;
    int64_t useful = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int32_t row = 0; row < rows; ++row) {
        for (int32_t plane = 0; plane < place.num_planes; ++plane) {
          const int64_t begin =
              block * place.block_stride + row * place.layer_stride + place.plane_offset[plane];
          const int64_t bytes = PageBytes(pool.planes[plane].format, pool.entries_per_block);
          EXPECT_EQ(bytes, place.page_bytes[plane]);
          EXPECT_EQ(begin % pool.page_align, 0);
          useful += bytes;
          pages.emplace_back(begin, begin + bytes);
        }
      }
    }
    std::sort(pages.begin(), pages.end());
    EXPECT_GE(pages.front().first, 0);
    EXPECT_LE(pages.back().second, place.total_bytes);
    for (size_t i = 1; i < pages.size(); ++i) EXPECT_LE(pages[i - 1].second, pages[i].first);

    EXPECT_EQ(place.block_stride % pool.block_align, 0);
    EXPECT_EQ(useful, blocks * place.useful_bytes_per_block);
    EXPECT_EQ(place.total_bytes, blocks * place.reserved_bytes_per_block());
    EXPECT_GE(place.page_padding_bytes_per_block, 0);
    EXPECT_LT(place.page_padding_bytes_per_block, rows * place.num_planes * pool.page_align);
    EXPECT_GE(place.block_padding_bytes_per_block, 0);
    // The pieces of a block that are copied hold all its pages.
    for (int64_t block = 0; block < blocks; ++block) {
      for (int32_t row = 0; row < rows; ++row) {
        const int64_t last_end = block * place.block_stride + row * place.layer_stride +
                                 place.plane_offset[place.num_planes - 1] +
                                 place.page_bytes[place.num_planes - 1];
        const int64_t piece = place.copy_pieces == 1 ? 0 : row;
        EXPECT_LE(last_end,
                  block * place.block_stride + piece * place.layer_stride + place.copy_bytes);
      }
    }
    EXPECT_LE(place.copy_bytes, place.block_stride);
  }
}

}  // namespace
}  // namespace terrace::testing
