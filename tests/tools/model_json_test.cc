#include "tools/terrace/commands/model_json.h"

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "terrace/formats/row_format.h"
#include "terrace/model.h"
#include "terrace/pool_kinds.h"

namespace terrace::testing {
namespace {

using tools::ModelToJson;
using tools::ParseModelJson;

using ::testing::HasSubstr;

void ExpectReadBack(const ModelSpec& model) {
  const std::string text = ModelToJson(model).dump();
  const auto read = ParseModelJson(text);
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(std::holds_alternative<ModelSpec>(*read));
  EXPECT_EQ(std::get<ModelSpec>(*read), model) << text;
}

TEST(ModelJsonTest, NamedModelsAreReadBackAsWritten) {
  ExpectReadBack(DeepSeekV4Flash());
  ExpectReadBack(DeepSeekV4Pro());
  ExpectReadBack(DeepSeekV41Flash());
}

TEST(ModelJsonTest, AnyModelIsReadBackAsWritten) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(::testing::Message() << "seed 5, round " << round);
    LayeredModelOptions options;
    options.name = "model \"" + std::to_string(random()) + "\"\n";
    for (unsigned l = 0; l < 1 + random() % 8; ++l) {
      options.ratios.push_back(std::vector<int32_t>{0, 1, 2, 4, 128}[random() % 5]);
    }
    options.latent_format = static_cast<RowFormat>(random() % 5);
    options.indexer_format = static_cast<RowFormat>(5 + random() % 2);
    options.rule = static_cast<EntryRule>(random() % 2);
    options.layout = static_cast<PoolLayout>(random() % 2);
    options.top_k = static_cast<int32_t>(1 + random() % 4096);
    ModelSpec model = MakeModel(options).value();
    for (RopeSpec& rope : model.ropes) {
      rope.base = 1 + std::uniform_real_distribution<double>(0, 1e6)(random);
      rope.yarn_factor = 1 + std::uniform_real_distribution<double>(0, 100)(random);
    }
    model.layers.push_back(model.layers.back());  // a layer that reads what another wrote
    for (LayerPool& use : model.layers.back().pools) use.writes = false;
    ExpectReadBack(model);
  }
}

TEST(ModelJsonTest, TheLayeredFormGivesTheOptionsThatAreNamed) {
  const auto read = ParseModelJson(R"({"name": "tiny", "ratios": [0, 4, 128], "top_k": 64,
      "latent_format": "mxfp8_v41", "rule": "strided", "layout": "layer-major"})");
  ASSERT_TRUE(read.ok()) << read.status();
  const auto& options = std::get<LayeredModelOptions>(*read);
  EXPECT_EQ(options.name, "tiny");
  EXPECT_THAT(options.ratios, ::testing::ElementsAre(0, 4, 128));
  EXPECT_EQ(options.top_k, 64);
  EXPECT_EQ(options.latent_format, RowFormat::kMxfp8V41);
  EXPECT_EQ(options.rule, EntryRule::kStrided);
  EXPECT_EQ(options.layout, PoolLayout::kLayerMajor);
  EXPECT_EQ(options.chunk_tokens, LayeredModelOptions{}.chunk_tokens);
}

TEST(ModelJsonTest, BadTextIsAOneLineErrorThatNamesThePlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "no JSON"},
      {"{\"ratios\": [4,\n", "line 2"},
      {"[1]", "not an object"},
      {"{}", "neither \"ratios\""},
      {R"({"ratios": [4], "topk": 3})", "unknown key \"topk\"; known are name, ratios"},
      {R"({"ratios": 4})", "ratios: not a list"},
      {R"({"ratios": [4, "x"]})", "ratios[1]: not a whole number"},
      {R"({"ratios": [4, 4.5]})", "ratios[1]: not a whole number"},
      {R"({"ratios": [4294967296]})", "ratios[0]: beyond 32 bits"},
      {R"({"ratios": [-4294967296]})", "ratios[0]: beyond 32 bits"},
      {R"({"ratios": [4], "page_align": 18446744073709551615})", "page_align: beyond 64 bits"},
      {R"({"ratios": [4], "name": 3})", "name: not a string"},
      {R"({"ratios": [4], "latent_format": "fp7"})", "latent_format: unknown row format"},
      {R"({"ratios": [4], "rule": "x"})", "rule: \"x\" is not pooled or strided"},
      {R"({"layers": [{"pools": [{"pool": 0, "ro": 1}]}]})", "layers[0].pools[0]: unknown key"},
      {R"({"layers": [3]})", "layers[0]: not an object"},
      {R"({"layers": [], "ropes": [{"base": "x"}]})", "ropes[0].base: not a number"},
      {R"({"layers": [{"pools": [{"writes": 1}]}]})", "writes: not true or false"},
      {R"({"layers": [{"pools": [{"pool": 0}]}], "ropes": [{}], "pools": []})", "pools has 0"},
  };
  for (const auto& [text, message] : cases) {
    SCOPED_TRACE(text);
    const absl::Status status = ParseModelJson(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
  }
}

}  // namespace
}  // namespace terrace::testing
