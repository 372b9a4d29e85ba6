#include "tools/terrace/commands/model_json.h"

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "src/base/status_macros.h"
#include "terrace/formats/row_format.h"

namespace terrace::tools {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

absl::Status Invalid(const std::string& where, const std::string& what) {
  return absl::InvalidArgumentError(where.empty() ? what : absl::StrCat(where, ": ", what));
}

template <typename Enum>
struct EnumName {
  Enum value;
  absl::string_view name;
};
constexpr EnumName<PoolKind> kKinds[] = {{PoolKind::kWindow, "window"},
                                         {PoolKind::kFull, "full"},
                                         {PoolKind::kOverlap, "overlap"},
                                         {PoolKind::kState, "state"}};
constexpr EnumName<EntryRule> kRules[] = {{EntryRule::kPooled, "pooled"},
                                          {EntryRule::kStrided, "strided"}};
constexpr EnumName<PoolLayout> kLayouts[] = {{PoolLayout::kBlockMajor, "block-major"},
                                             {PoolLayout::kLayerMajor, "layer-major"}};

template <typename Enum, size_t n>
absl::string_view NameOf(const EnumName<Enum> (&names)[n], Enum value) {
  for (const EnumName<Enum>& name : names) {
    if (name.value == value) return name.name;
  }
  return "unknown";
}

template <typename Enum, size_t n>
absl::StatusOr<Enum> ValueOf(const EnumName<Enum> (&names)[n], absl::string_view text) {
  std::string known;
  for (const EnumName<Enum>& name : names) {
    if (name.name == text) return name.value;
    absl::StrAppend(&known, known.empty() ? "" : " or ", name.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not ", known));
}

absl::Status Read(const Json& json, const std::string& where, std::string* out) {
  if (!json.is_string()) return Invalid(where, "not a string");
  *out = json.get<std::string>();
  return absl::OkStatus();
}

absl::Status Read(const Json& json, const std::string& where, bool* out) {
  if (!json.is_boolean()) return Invalid(where, "not true or false");
  *out = json.get<bool>();
  return absl::OkStatus();
}

absl::Status Read(const Json& json, const std::string& where, double* out) {
  if (!json.is_number()) return Invalid(where, "not a number");
  *out = json.get<double>();
  return absl::OkStatus();
}

template <typename Int>
requires std::is_same_v<Int, int32_t> || std::is_same_v<Int, int64_t> absl::Status Read(
    const Json& json, const std::string& where, Int* out) {
  if (!json.is_number_integer()) return Invalid(where, "not a whole number");
  const bool too_large =
      json.is_number_unsigned()
          ? json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<Int>::max())
          : json.get<int64_t>() < std::numeric_limits<Int>::min();
  if (too_large) return Invalid(where, absl::StrCat("beyond ", 8 * sizeof(Int), " bits"));
  *out = json.get<Int>();
  return absl::OkStatus();
}

template <typename Enum, typename Parse>
absl::Status ReadName(const Json& json, const std::string& where, const Parse& parse, Enum* out) {
  std::string name;
  TERRACE_RETURN_IF_ERROR(Read(json, where, &name));
  const absl::StatusOr<Enum> value = parse(name);
  if (!value.ok()) return Invalid(where, std::string(value.status().message()));
  *out = *value;
  return absl::OkStatus();
}

absl::Status Read(const Json& json, const std::string& where, RowFormat* out) {
  return ReadName(json, where, ParseRowFormat, out);
}
absl::Status Read(const Json& json, const std::string& where, PoolKind* out) {
  return ReadName(
      json, where, [](absl::string_view n) { return ValueOf(kKinds, n); }, out);
}
absl::Status Read(const Json& json, const std::string& where, EntryRule* out) {
  return ReadName(
      json, where, [](absl::string_view n) { return ValueOf(kRules, n); }, out);
}
absl::Status Read(const Json& json, const std::string& where, PoolLayout* out) {
  return ReadName(json, where, ParsePoolLayout, out);
}

// Structs list their fields once, for reading and for writing: fields(visit) calls
// visit(key, member) for each.
template <typename Visit>
void Fields(LayeredModelOptions& o, const Visit& visit) {
  visit("name", o.name);
  visit("ratios", o.ratios);
  visit("kv_sources", o.kv_sources);
  visit("latent_format", o.latent_format);
  visit("window_format", o.window_format);
  visit("rotate_nvfp4", o.rotate_nvfp4);
  visit("indexer_format", o.indexer_format);
  visit("indexer_ratio", o.indexer_ratio);
  visit("indexer_ratios", o.indexer_ratios);
  visit("rule", o.rule);
  visit("overlap", o.overlap);
  visit("state", o.state);
  visit("swa_block_tokens", o.swa_block_tokens);
  visit("chunk_tokens", o.chunk_tokens);
  visit("max_context_tokens", o.max_context_tokens);
  visit("top_k", o.top_k);
  visit("layout", o.layout);
  visit("page_align", o.page_align);
  visit("block_align", o.block_align);
  visit("block_aligns", o.block_aligns);
  visit("entries_per_page", o.entries_per_page);
}
template <typename Visit>
void Fields(PlaneSpec& p, const Visit& visit) {
  visit("format", p.format);
  visit("rope_before_store", p.rope_before_store);
}
template <typename Visit>
void Fields(PoolSpec& p, const Visit& visit) {
  visit("name", p.name);
  visit("kind", p.kind);
  visit("ratio", p.ratio);
  visit("rule", p.rule);
  visit("planes", p.planes);
  visit("opaque_bytes", p.opaque_bytes);
  visit("opaque_bytes_per_draft", p.opaque_bytes_per_draft);
  visit("entries_per_block", p.entries_per_block);
  visit("entries_per_page", p.entries_per_page);
  visit("layout", p.layout);
  visit("page_align", p.page_align);
  visit("block_align", p.block_align);
}
template <typename Visit>
void Fields(LayerPool& l, const Visit& visit) {
  visit("pool", l.pool);
  visit("row", l.index);
  visit("writes", l.writes);
}
template <typename Visit>
void Fields(LayerSpec& l, const Visit& visit) {
  visit("pools", l.pools);
  visit("rope", l.rope);
}
template <typename Visit>
void Fields(RopeSpec& r, const Visit& visit) {
  visit("base", r.base);
  visit("yarn_factor", r.yarn_factor);
  visit("yarn_original_length", r.yarn_original_length);
  visit("yarn_beta_fast", r.yarn_beta_fast);
  visit("yarn_beta_slow", r.yarn_beta_slow);
}
template <typename Visit>
void Fields(ModelSpec& m, const Visit& visit) {
  visit("name", m.name);
  visit("window_tokens", m.window_tokens);
  visit("chunk_tokens", m.chunk_tokens);
  visit("max_context_tokens", m.max_context_tokens);
  visit("top_k", m.top_k);
  visit("ropes", m.ropes);
  visit("pools", m.pools);
  visit("layers", m.layers);
}

template <typename T>
concept HasFields = std::is_class_v<T> && requires(T& t) {
  Fields(t, [](const char*, auto&) {});
};

template <HasFields T>
absl::Status Read(const Json& json, const std::string& where, T* out);

template <typename T>
absl::Status Read(const Json& json, const std::string& where, std::vector<T>* out) {
  if (!json.is_array()) return Invalid(where, "not a list");
  out->clear();
  for (const Json& member : json) {
    const std::string place = absl::StrCat(where, "[", out->size(), "]");
    TERRACE_RETURN_IF_ERROR(Read(member, place, &out->emplace_back()));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status Read(const Json& json, const std::string& where, std::optional<T>* out) {
  return Read(json, where, &out->emplace());
}

absl::Status Read(const Json& json, const std::string& where, std::map<std::string, int64_t>* out) {
  if (!json.is_object()) return Invalid(where, "not an object");
  out->clear();
  for (const auto& [key, value] : json.items()) {
    TERRACE_RETURN_IF_ERROR(Read(value, absl::StrCat(where, ".", key), &(*out)[key]));
  }
  return absl::OkStatus();
}

template <HasFields T>
absl::Status Read(const Json& json, const std::string& where, T* out) {
  if (!json.is_object()) return Invalid(where, "not an object");
  std::set<std::string> known;
  std::string names;
  absl::Status status;
  Fields(*out, [&](const char* key, auto& member) {
    known.insert(key);
    absl::StrAppend(&names, names.empty() ? "" : ", ", key);
    const auto found = json.find(key);
    if (found == json.end() || !status.ok()) return;
    status = Read(*found, where.empty() ? key : absl::StrCat(where, ".", key), &member);
  });
  for (const auto& [key, value] : json.items()) {
    if (known.count(key) == 0) {
      return Invalid(where, absl::StrCat("unknown key \"", key, "\"; known are ", names));
    }
  }
  return status;
}

template <typename T>
OrderedJson Write(T& value) {
  if constexpr (HasFields<T>) {
    OrderedJson json = OrderedJson::object();
    Fields(value, [&](const char* key, auto& member) { json[key] = Write(member); });
    return json;
  } else if constexpr (std::is_same_v<T, RowFormat>) {
    return std::string(RowFormatName(value));
  } else if constexpr (std::is_same_v<T, PoolKind>) {
    return std::string(PoolKindName(value));
  } else if constexpr (std::is_same_v<T, EntryRule>) {
    return std::string(EntryRuleName(value));
  } else if constexpr (std::is_same_v<T, PoolLayout>) {
    return std::string(PoolLayoutName(value));
  } else if constexpr (requires { value.emplace_back(); }) {
    OrderedJson json = OrderedJson::array();
    for (auto& member : value) json.push_back(Write(member));
    return json;
  } else {
    return value;
  }
}

}  // namespace

absl::string_view EntryRuleName(EntryRule rule) { return NameOf(kRules, rule); }
absl::string_view PoolLayoutName(PoolLayout layout) { return NameOf(kLayouts, layout); }

absl::StatusOr<PoolLayout> ParsePoolLayout(absl::string_view name) {
  return ValueOf(kLayouts, name);
}

absl::StatusOr<ModelFile> ParseModelJson(const std::string& text) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("no JSON: ", error.what()));
  }
  if (!json.is_object()) return absl::InvalidArgumentError("not an object");
  if (json.contains("ratios")) {
    LayeredModelOptions options;
    TERRACE_RETURN_IF_ERROR(Read(json, "", &options));
    return ModelFile(std::move(options));
  }
  if (!json.contains("layers")) {
    return absl::InvalidArgumentError(
        "neither \"ratios\" (a ratio a layer) nor \"layers\" and \"pools\" are given");
  }
  ModelSpec model;
  TERRACE_RETURN_IF_ERROR(Read(json, "", &model));
  TERRACE_RETURN_IF_ERROR(ValidateModel(model));
  return ModelFile(std::move(model));
}

nlohmann::ordered_json ModelToJson(const ModelSpec& model) {
  ModelSpec copy = model;  // Fields visits members that it may change
  return Write(copy);
}

}  // namespace terrace::tools
