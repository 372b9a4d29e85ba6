// The models of model.h that have names.

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/base/check.h"
#include "src/base/status_macros.h"
#include "terrace/model.h"

namespace terrace {
namespace {

// 4 and 128 in turn, ending on 4, after `first` twice.
std::vector<int32_t> AlternatingRatios(int32_t first, int num_layers) {
  std::vector<int32_t> ratios = {first, first};
  for (int layer = 2; layer < num_layers; ++layer) ratios.push_back(layer % 2 == 0 ? 4 : 128);
  return ratios;
}

LayeredModelOptions FlashOptions() {
  LayeredModelOptions options;
  options.name = "deepseek-v4-flash";
  options.ratios = AlternatingRatios(0, 43);
  options.state = true;
  return options;
}

LayeredModelOptions ProOptions() {
  LayeredModelOptions options;
  options.name = "deepseek-v4-pro";
  options.ratios = AlternatingRatios(128, 61);
  options.state = true;
  options.top_k = 1024;
  return options;
}

// Entries are made by the first layer of each group: three groups of pairs, one of single tokens.
LayeredModelOptions FlashV41Options() {
  constexpr int kWindowOnly = 2;
  constexpr int kFirstOfTokens = 20;
  constexpr int kLayers = 40;
  LayeredModelOptions options;
  options.name = "deepseek-v4.1-flash";
  for (int layer = 0; layer < kLayers; ++layer) {
    options.ratios.push_back(layer < kWindowOnly ? 0 : layer < kFirstOfTokens ? kPairRatio : 1);
  }
  options.kv_sources = {2, 8, 14, kFirstOfTokens};
  options.window_format = RowFormat::kMxfp8V41Il;
  options.latent_format = RowFormat::kNvfp4V41Il;
  options.rotate_nvfp4 = true;
  options.indexer_format = RowFormat::kIndexerMxfp4;
  options.indexer_ratios = {1, kPairRatio};
  options.state = true;
  options.page_align = 16;
  options.entries_per_page = 64;
  return options;
}

std::array<LayeredModelOptions, 3> NamedOptions() {
  return {FlashOptions(), ProOptions(), FlashV41Options()};
}

ModelSpec MustMake(const LayeredModelOptions& options) {
  absl::StatusOr<ModelSpec> model = MakeModel(options);
  TERRACE_CHECK_OK(model);
  return *std::move(model);
}

}  // namespace

ModelSpec DeepSeekV4Flash() { return MustMake(FlashOptions()); }

ModelSpec DeepSeekV4Pro() { return MustMake(ProOptions()); }

ModelSpec DeepSeekV41Flash() { return MustMake(FlashV41Options()); }

absl::StatusOr<LayeredModelOptions> ModelOptionsByName(absl::string_view name) {
  std::vector<std::string> names;
  for (LayeredModelOptions& options : NamedOptions()) {
    if (options.name == name) return std::move(options);
    names.push_back(options.name);
  }
  return absl::NotFoundError(
      absl::StrCat("no model is named \"", name, "\"; known are ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<ModelSpec> ModelByName(absl::string_view name) {
  TERRACE_ASSIGN_OR_RETURN(const LayeredModelOptions options, ModelOptionsByName(name));
  return MakeModel(options);
}

}  // namespace terrace
