#include <nanobind/stl/map.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/model_argument.h"
#include "python/src/numbers.h"
#include "python/src/words.h"
#include "terrace/model.h"
#include "tools/terrace/commands/model_json.h"

namespace terrace::python {
namespace {

ModelSpec FromJson(const std::string& text) {
  tools::ModelFile file = Take(tools::ParseModelJson(text));
  if (auto* options = std::get_if<LayeredModelOptions>(&file)) return Take(MakeModel(*options));
  return std::get<ModelSpec>(std::move(file));
}

std::string ToJsonText(const ModelSpec& model) { return tools::ModelToJson(model).dump(2); }

using Aligns = std::map<std::string, int64_t>;

ModelSpec Make(const std::string& name, nb::handle ratios, nb::handle kv_sources,
               nb::handle latent_format, nb::handle window_format, bool rotate_nvfp4,
               nb::handle indexer_format, int32_t indexer_ratio, nb::handle indexer_ratios,
               nb::handle rule, bool overlap, bool state, int32_t swa_block_tokens,
               int32_t chunk_tokens, int32_t max_context_tokens, int32_t top_k, nb::handle layout,
               int64_t page_align, int64_t block_align, const Aligns& block_aligns,
               int32_t entries_per_page) {
  const Numbers<int32_t> numbers(ratios, "ratios");
  const Numbers<int32_t> sources(kv_sources, "kv_sources");
  const Numbers<int32_t> indexed(indexer_ratios, "indexer_ratios");
  std::optional<RowFormat> window;
  if (!window_format.is_none()) window = RowFormatOf(window_format);
  return Take(MakeModel({.name = name,
                         .ratios = {numbers.span().begin(), numbers.span().end()},
                         .kv_sources = {sources.span().begin(), sources.span().end()},
                         .latent_format = RowFormatOf(latent_format),
                         .window_format = window,
                         .rotate_nvfp4 = rotate_nvfp4,
                         .indexer_format = RowFormatOf(indexer_format),
                         .indexer_ratio = indexer_ratio,
                         .indexer_ratios = {indexed.span().begin(), indexed.span().end()},
                         .rule = EntryRuleOf(rule),
                         .overlap = overlap,
                         .state = state,
                         .swa_block_tokens = swa_block_tokens,
                         .chunk_tokens = chunk_tokens,
                         .max_context_tokens = max_context_tokens,
                         .top_k = top_k,
                         .layout = PoolLayoutOf(layout),
                         .page_align = page_align,
                         .block_align = block_align,
                         .block_aligns = block_aligns,
                         .entries_per_page = entries_per_page}));
}

void CheckLayer(const ModelSpec& model, int layer) {
  if (layer < 0 || layer >= static_cast<int>(model.layers.size())) {
    RaiseInvalid("layer ", layer, " is not in 0..", static_cast<int>(model.layers.size()) - 1);
  }
}

void BindParts(nb::module_& module) {
  nb::class_<PlaneSpec>(module, "PlaneSpec", "One row format inside a pool.")
      .def_prop_ro("format", [](const PlaneSpec& p) { return WordOf(p.format); })
      .def_ro("rope_before_store", &PlaneSpec::rope_before_store,
              "Whether rows are rotated as they are stored.");
  nb::class_<PoolSpec>(module, "PoolSpec", "The blocks of one kind.")
      .def_ro("name", &PoolSpec::name)
      .def_prop_ro(
          "kind", [](const PoolSpec& p) { return WordOf(p.kind); },
          "'window', 'full', 'overlap' or 'state'.")
      .def_ro("ratio", &PoolSpec::ratio, "Tokens per entry.")
      .def_prop_ro(
          "rule", [](const PoolSpec& p) { return WordOf(p.rule); }, "'pooled' or 'strided'.")
      .def_ro("planes", &PoolSpec::planes, "The latent, then the indexer key if there is one.")
      .def_ro("opaque_bytes", &PoolSpec::opaque_bytes)
      .def_ro("opaque_bytes_per_draft", &PoolSpec::opaque_bytes_per_draft)
      .def_ro("entries_per_block", &PoolSpec::entries_per_block)
      .def_ro("entries_per_page", &PoolSpec::entries_per_page, "0: all entries of a block.")
      .def_prop_ro(
          "layout", [](const PoolSpec& p) { return WordOf(p.layout); },
          "'block-major' or 'layer-major'.")
      .def_ro("page_align", &PoolSpec::page_align, "Bytes.")
      .def_ro("block_align", &PoolSpec::block_align, "Bytes.");
  nb::class_<LayerPool>(module, "LayerPool", "Where a layer finds its pages in one pool.")
      .def_ro("pool", &LayerPool::pool)
      .def_ro("index", &LayerPool::index, "Of the layers whose pages the pool holds.")
      .def_ro("writes", &LayerPool::writes, "Exactly one layer writes them.");
  nb::class_<LayerSpec>(module, "LayerSpec", "A layer's pools.")
      .def_ro("pools", &LayerSpec::pools, "At most one of each kind.")
      .def_ro("rope", &LayerSpec::rope, "Index into the model's ropes.");
  nb::class_<RopeSpec>(module, "RopeSpec", "Angles of the rotation: base, and YaRN if factor > 1.")
      .def_ro("base", &RopeSpec::base)
      .def_ro("yarn_factor", &RopeSpec::yarn_factor)
      .def_ro("yarn_original_length", &RopeSpec::yarn_original_length)
      .def_ro("yarn_beta_fast", &RopeSpec::yarn_beta_fast)
      .def_ro("yarn_beta_slow", &RopeSpec::yarn_beta_slow);
}

}  // namespace

ModelSpec ModelOf(nb::handle model) {
  if (nb::isinstance<ModelSpec>(model)) return nb::cast<const ModelSpec&>(model);
  if (PyUnicode_Check(model.ptr())) return Take(ModelByName(nb::cast<std::string>(model)));
  RaiseInvalid("the model is a ", Py_TYPE(model.ptr())->tp_name,
               ", neither a name nor a ModelSpec");
}

void BindModel(nb::module_& module) {
  BindParts(module);
  nb::class_<ModelSpec>(module, "ModelSpec",
                        "What a model stores: its pools, their row formats, and which rows each "
                        "layer has.\n\nMade by model(), make_model() or ModelSpec.from_json().")
      .def_ro("name", &ModelSpec::name)
      .def_ro("window_tokens", &ModelSpec::window_tokens)
      .def_ro("chunk_tokens", &ModelSpec::chunk_tokens, "The unit of prefix reuse.")
      .def_ro("max_context_tokens", &ModelSpec::max_context_tokens)
      .def_ro("top_k", &ModelSpec::top_k)
      .def_ro("ropes", &ModelSpec::ropes)
      .def_ro("pools", &ModelSpec::pools)
      .def_ro("layers", &ModelSpec::layers)
      .def_static(
          "from_json", &FromJson, "text"_a,
          "A model in either JSON form of docs/capacity.md. Raises InvalidArgument with the "
          "place in the text.")
      .def("to_json", &ToJsonText, "The full JSON form; from_json reads an equal model back.")
      .def(
          "window_pool", [](const ModelSpec& model) { return WindowPool(model).value(); },
          "Index of the window pool, or -1.")
      .def(
          "overlap_pool", [](const ModelSpec& model) { return OverlapPool(model).value(); },
          "Index of the overlap pool, or -1.")
      .def(
          "state_pool",
          [](const ModelSpec& model, int32_t ratio) { return StatePool(model, ratio).value(); },
          "ratio"_a, "Index of the state pool of a ratio, or -1.")
      .def(
          "full_pool",
          [](const ModelSpec& model, int layer) {
            CheckLayer(model, layer);
            return FullPool(model, layer).value();
          },
          "layer"_a, "Index of the full pool of a layer, or -1. Raises InvalidArgument.")
      .def(
          "count_layers",
          [](const ModelSpec& model, int pool, int32_t first, nb::handle count) {
            const int32_t all = static_cast<int32_t>(model.layers.size());
            const LayerRange range = {
                first, count.is_none() ? all - first : WholeNumber<int32_t>(count, "count")};
            if (first < 0 || range.count < 0 || range.count > all - first) {
              RaiseInvalid("layers ", first, " + ", range.count, " are not in 0..", all - 1);
            }
            return CountLayers(model, PoolIndex(pool), range);
          },
          "pool"_a, "first"_a = 0, "count"_a.none() = nb::none(),
          nb::sig(
              "def count_layers(self, pool: int, first: int = 0, count: int | None = None) -> int"),
          "How many layers of a range write to a pool.")
      .def(
          "validate", [](const ModelSpec& model) { Check(ValidateModel(model)); },
          "Raises InvalidArgument with the field and both values where something cannot be.")
      .def(
          "__eq__",
          [](const ModelSpec& a, nb::handle b) {
            return nb::isinstance<ModelSpec>(b) && a == nb::cast<const ModelSpec&>(b);
          },
          "other"_a, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__repr__", [](const ModelSpec& model) {
        return absl::StrCat("<terrace_kv.ModelSpec ", model.name, ": ", model.layers.size(),
                            " layers, ", model.pools.size(), " pools>");
      });
  module.def(
      "model", [](const std::string& name) { return Take(ModelByName(name)); }, "name"_a,
      "A named model, such as 'deepseek-v4-flash'. Raises NotFound that lists the names.");
  module.def("deepseek_v4_flash", &DeepSeekV4Flash, "43 layers: 2 window-only, 21 CSA, 20 HCA.");
  module.def("deepseek_v4_pro", &DeepSeekV4Pro, "61 layers: 30 CSA, 31 HCA.");
  module.def("deepseek_v41_flash", &DeepSeekV41Flash,
             "40 layers: 2 window-only, 18 that read pairs, 20 that read single tokens.");
  const LayeredModelOptions defaults;
  module.def(
      "make_model", &Make, nb::kw_only(), "name"_a = "custom", "ratios"_a,
      "kv_sources"_a = nb::make_tuple(), "latent_format"_a = "flashmla_v4",
      "window_format"_a.none() = nb::none(), "rotate_nvfp4"_a = false,
      "indexer_format"_a = "indexer_fp8", "indexer_ratio"_a = defaults.indexer_ratio,
      "indexer_ratios"_a = nb::make_tuple(), "rule"_a = "pooled", "overlap"_a = defaults.overlap,
      "state"_a = defaults.state, "swa_block_tokens"_a = defaults.swa_block_tokens,
      "chunk_tokens"_a = defaults.chunk_tokens,
      "max_context_tokens"_a = defaults.max_context_tokens, "top_k"_a = defaults.top_k,
      "layout"_a = "block-major", "page_align"_a = defaults.page_align,
      "block_align"_a = defaults.block_align, "block_aligns"_a = Aligns(),
      "entries_per_page"_a = defaults.entries_per_page,
      nb::sig(
          "def make_model(*, name: str = 'custom', ratios: Ints, kv_sources: Ints = (), "
          "latent_format: str = 'flashmla_v4', window_format: str | None = None, rotate_nvfp4: "
          "bool = False, indexer_format: str = 'indexer_fp8', indexer_ratio: int = 4, "
          "indexer_ratios: Ints = (), rule: "
          "RuleName = 'pooled', overlap: bool = True, state: bool = False, swa_block_tokens: "
          "int = 64, chunk_tokens: int = 256, max_context_tokens: int = 1048576, top_k: int = "
          "512, layout: LayoutName = 'block-major', page_align: int = 32, block_align: int = 0, "
          "block_aligns: dict[str, int] = ..., entries_per_page: int = 0) -> ModelSpec"),
      "A layered model: `ratios` has a number a layer, 0 = window only, else 1, 2, 4 or 128.\n\n"
      "kv_sources: the layers that make entries, ascending; others read those of the last one "
      "before\n"
      "them; none: every layer. window_format: of window rows; None is latent_format. "
      "rotate_nvfp4:\n"
      "rows of nvfp4 are rotated as they are stored. indexer_ratios: instead of indexer_ratio, "
      "where\n"
      "several pools have indexer keys. entries_per_page: of the full pools; 0 is all of a block.\n"
      "block_aligns: block_align of single pools, by name.\n"
      "state: sequences keep what compress() goes on from. Alignments are bytes; block_align 0\n"
      "is the format's. Raises InvalidArgument that names the field.");
}

}  // namespace terrace::python
