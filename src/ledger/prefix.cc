// The figures of prefix reuse in three formats, all made from one list.

#include "terrace/prefix.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "src/base/text_table.h"

namespace terrace {
namespace {

using internal::Align;
using internal::Cells;
using internal::WithCommas;

enum class Type { kCounter, kGauge };

struct Figure {
  const char* name;
  Type type;
  const char* help;
  bool by_pool;  // one value for each pool
  int64_t (*value)(const PrefixFigures& figures, int pool);

  std::vector<int64_t> ValuesOf(const PrefixFigures& figures) const {
    std::vector<int64_t> values(by_pool ? kMaxPools : 1);
    for (size_t pool = 0; pool < values.size(); ++pool) {
      values[pool] = value(figures, static_cast<int>(pool));
    }
    return values;
  }
};

// Figures that are members of PrefixFigures: counts, counts for each pool, functions.
template <int64_t PrefixFigures::*kMember>
constexpr Figure Of(const char* name, Type type, const char* help) {
  return {name, type, help, false, [](const PrefixFigures& f, int) { return f.*kMember; }};
}
template <int64_t (PrefixFigures::*kMember)[kMaxPools]>
constexpr Figure Of(const char* name, Type type, const char* help) {
  return {name, type, help, true, [](const PrefixFigures& f, int p) { return (f.*kMember)[p]; }};
}
template <int64_t (PrefixFigures::*kMember)() const>
constexpr Figure Of(const char* name, Type type, const char* help) {
  return {name, type, help, false, [](const PrefixFigures& f, int) { return (f.*kMember)(); }};
}

using F = PrefixFigures;
constexpr Type kCounter = Type::kCounter;
constexpr Type kGauge = Type::kGauge;
constexpr Figure kFigures[] = {
    Of<&F::lookups>("lookups", kCounter, "new requests with a whole chunk that could match"),
    Of<&F::hits>("hits", kCounter, "lookups that matched"),
    Of<&F::prompt_tokens>("prompt_tokens", kCounter, "tokens of the prompts of new requests"),
    Of<&F::matched_tokens>("matched_tokens", kCounter,
                           "prompt tokens whose chunks were shared: resumed + skipped + replayed"),
    Of<&F::resumed_tokens>("resumed_tokens", kCounter,
                           "matched tokens before a checkpoint, never fed again"),
    Of<&F::skipped_tokens>("skipped_tokens", kCounter,
                           "matched tokens before a refeed without checkpoint, never fed again"),
    Of<&F::refed_tokens>("replayed_tokens", kCounter,
                         "matched tokens fed again for their window rows"),
    Of<&F::saved_tokens>("saved_tokens", kCounter,
                         "matched tokens not fed again: matched - replayed"),
    Of<&F::returns>("returns", kCounter, "requests that came back after a preemption"),
    Of<&F::return_hits>("return_hits", kCounter, "returns that matched"),
    Of<&F::return_prompt_tokens>("return_prompt_tokens", kCounter,
                                 "tokens that returning requests knew"),
    Of<&F::return_matched_tokens>("return_matched_tokens", kCounter,
                                  "of them, those whose chunks were shared"),
    Of<&F::return_refed_tokens>("return_replayed_tokens", kCounter,
                                "matched tokens of returns fed again for their window rows"),
    Of<&F::stored_chunks>("stored_chunks", kCounter,
                          "chunks published: indexed + evicted + expired + cleared + lost"),
    Of<&F::duplicate_chunks>("duplicate_chunks", kCounter,
                             "chunks settled when an equal one was stored already"),
    Of<&F::evicted_chunks>("evicted_chunks", kCounter, "chunks removed under pressure"),
    Of<&F::expired_chunks>("expired_chunks", kCounter,
                           "chunks removed when their time to live was over"),
    Of<&F::cleared_chunks>("cleared_chunks", kCounter, "chunks removed by ClearPrefixes"),
    Of<&F::lost_chunks>("lost_chunks", kCounter, "chunks removed by Abandon or Distrust"),
    Of<&F::indexed_chunks>("indexed_chunks", kGauge, "chunks stored now"),
    Of<&F::unused_chunks>("unused_chunks", kGauge, "chunks stored now that may be evicted"),
    Of<&F::stored_checkpoints>(
        "stored_checkpoints", kCounter,
        "checkpoints stored: held + evicted + rolled + dropped + cleared + lost"),
    Of<&F::evicted_checkpoints>("evicted_checkpoints", kCounter,
                                "checkpoints removed under pressure"),
    Of<&F::rolled_checkpoints>("rolled_checkpoints", kCounter,
                               "checkpoints removed as their sequence moved on"),
    Of<&F::dropped_checkpoints>("dropped_checkpoints", kCounter,
                                "checkpoints removed with their chunk"),
    Of<&F::cleared_checkpoints>("cleared_checkpoints", kCounter,
                                "checkpoints removed by ClearPrefixes"),
    Of<&F::lost_checkpoints>("lost_checkpoints", kCounter,
                             "checkpoints removed by Abandon or Distrust"),
    Of<&F::held_checkpoints>("held_checkpoints", kGauge, "checkpoints stored now"),
    Of<&F::missed_checkpoints>("missed_checkpoints", kCounter,
                               "checkpoints wanted when there was no room for their blocks"),
    Of<&F::peak_checkpoint_blocks>("peak_checkpoint_blocks", kGauge,
                                   "most window blocks that checkpoints alone kept"),
    Of<&F::evicted_blocks>("evicted_blocks", kCounter, "blocks evicted under pressure of the pool"),
    Of<&F::copied_blocks>("copied_blocks", kCounter,
                          "blocks copied on the first write after a fork"),
    Of<&F::forks>("forks", kCounter, "sequences forked"),
};

}  // namespace

std::string ToTable(const PrefixFigures& figures) {
  std::vector<Cells> rows;
  for (const Figure& figure : kFigures) {
    const auto group = [](std::string* out, int64_t value) {
      absl::StrAppend(out, WithCommas(value));
    };
    rows.push_back({figure.name, absl::StrCat(figure.help, figure.by_pool ? ", by pool" : ""),
                    absl::StrJoin(figure.ValuesOf(figures), " ", group)});
  }
  return Align(rows, 2);
}

std::string ToJson(const PrefixFigures& figures) {
  std::vector<std::string> members;
  for (const Figure& figure : kFigures) {
    const std::string values = absl::StrJoin(figure.ValuesOf(figures), ", ");
    members.push_back(absl::StrCat("\"", figure.name, "\": ", figure.by_pool ? "[" : "", values,
                                   figure.by_pool ? "]" : ""));
  }
  return absl::StrCat("{", absl::StrJoin(members, ", "), "}");
}

std::string ToPrometheus(const PrefixFigures& figures) {
  std::string text;
  for (const Figure& figure : kFigures) {
    const bool counter = figure.type == Type::kCounter;
    const std::string name = absl::StrCat("terrace_prefix_", figure.name, counter ? "_total" : "");
    absl::StrAppend(&text, "# HELP ", name, " ", figure.help, "\n");
    absl::StrAppend(&text, "# TYPE ", name, " ", counter ? "counter" : "gauge", "\n");
    const std::vector<int64_t> values = figure.ValuesOf(figures);
    for (size_t pool = 0; pool < values.size(); ++pool) {
      const std::string label = figure.by_pool ? absl::StrCat("{pool=\"", pool, "\"}") : "";
      absl::StrAppend(&text, name, label, " ", values[pool], "\n");
    }
  }
  return text;
}

}  // namespace terrace
