#include "tools/terrace/engine/layer_range.h"

#include <utility>

#include "gtest/gtest.h"
#include "terrace/model.h"

namespace terrace::testing {
namespace {

using tools::OneLayerOfEachKind;
using tools::ParseLayers;

TEST(LayerRangeTest, TheShortestRunHasOneLayerOfEachKind) {
  const LayerRange flash = OneLayerOfEachKind(DeepSeekV4Flash());
  EXPECT_EQ(flash.first, 1);
  EXPECT_EQ(flash.count, 3);
  const LayerRange pro = OneLayerOfEachKind(DeepSeekV4Pro());
  EXPECT_EQ(pro.first, 1);
  EXPECT_EQ(pro.count, 2);
}

TEST(LayerRangeTest, ReadsWhatPeopleWrite) {
  const auto range = [](const char* text) {
    const auto layers = ParseLayers(text, DeepSeekV4Flash());
    return layers.ok() ? std::make_pair(layers->first, layers->count) : std::make_pair(-1, -1);
  };
  EXPECT_EQ(range("all"), std::make_pair(0, 43));
  EXPECT_EQ(range("7"), std::make_pair(7, 1));
  EXPECT_EQ(range("1-3"), std::make_pair(1, 3));
  for (const char* bad : {"", "43", "3-1", "-1", "1-2-3", "x", "1-", "0-43"}) {
    EXPECT_EQ(range(bad), std::make_pair(-1, -1)) << bad;
  }
}

}  // namespace
}  // namespace terrace::testing
