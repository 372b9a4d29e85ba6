#include "tools/terrace/engine/layer_range.h"

#include <set>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace terrace::tools {
namespace {

size_t NumKinds(const ModelSpec& model, int first, int count) {
  std::set<PoolIndex> kinds;
  for (int layer = first; layer < first + count; ++layer) kinds.insert(FullPool(model, layer));
  return kinds.size();
}

}  // namespace

LayerRange OneLayerOfEachKind(const ModelSpec& model) {
  const int32_t layers = static_cast<int32_t>(model.layers.size());
  const size_t kinds = NumKinds(model, 0, layers);
  for (int32_t count = 1; count < layers; ++count) {
    for (int32_t first = 0; first + count <= layers; ++first) {
      if (NumKinds(model, first, count) == kinds) return {first, count};
    }
  }
  return {0, layers};
}

absl::StatusOr<LayerRange> ParseLayers(const std::string& text, const ModelSpec& model) {
  const int32_t layers = static_cast<int32_t>(model.layers.size());
  if (text == "all") return LayerRange{0, layers};
  const std::vector<std::string> ends = absl::StrSplit(text, '-');
  int32_t first = 0;
  int32_t last = 0;
  if (ends.size() > 2 || !absl::SimpleAtoi(ends.front(), &first) ||
      !absl::SimpleAtoi(ends.back(), &last) || first < 0 || first > last || last >= layers) {
    return absl::InvalidArgumentError(
        absl::StrFormat("--layers: \"%s\" is neither N, A-B nor all; %s has layers 0 to %d", text,
                        model.name, layers - 1));
  }
  return LayerRange{first, last - first + 1};
}

}  // namespace terrace::tools
