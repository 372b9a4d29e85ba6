// The capacity plan as people read it.

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "src/base/text_table.h"
#include "terrace/capacity.h"
#include "terrace/formats/row_format.h"
#include "terrace/units.h"

namespace terrace {
namespace {

using internal::Align;
using internal::Cells;
using internal::WithCommas;
using internal::Wrap;

std::string PoolTable(const CapacityPlan& plan, int columns) {
  std::vector<Cells> rows = {{"pool", "kind", "rows of", "layers", "tokens/row", "rows/block",
                              "bytes/block", "blocks", "size"}};
  for (size_t p = 0; p < plan.pools.size(); ++p) {
    const PoolBudget& budget = plan.pools[p];
    const PoolSpec& spec = plan.model.pools[p];
    const bool opaque = !HoldsRows(budget.kind);
    rows.push_back({budget.name, std::string(PoolKindName(budget.kind)),
                    opaque ? absl::StrCat(WithCommas(budget.place.page_bytes[0]), " B")
                           : absl::StrJoin(spec.planes, " + ",
                                           [](std::string* out, const PlaneSpec& plane) {
                                             absl::StrAppend(out, RowFormatName(plane.format));
                                           }),
                    WithCommas(budget.place.layers), opaque ? "-" : WithCommas(spec.ratio),
                    WithCommas(spec.entries_per_block),
                    WithCommas(budget.place.reserved_bytes_per_block()), WithCommas(budget.blocks),
                    FormatBytes(budget.place.total_bytes)});
  }
  return Align(rows, 3, columns);
}

std::string MemoryTable(const CapacityPlan& plan, int columns) {
  int64_t useful = 0;
  int64_t page_padding = 0;
  int64_t block_padding = 0;
  for (const PoolBudget& pool : plan.pools) {
    useful += pool.blocks * pool.place.useful_bytes_per_block;
    page_padding += pool.blocks * pool.place.page_padding_bytes_per_block;
    block_padding += pool.blocks * pool.place.block_padding_bytes_per_block;
  }
  std::vector<Cells> rows = {{"memory", "bytes", "", "share"}};
  const auto add = [&](const std::string& what, int64_t bytes) {
    rows.push_back({what, WithCommas(bytes), FormatBytes(bytes),
                    absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(bytes) /
                                                   static_cast<double>(plan.memory_bytes))});
  };
  add("useful rows", useful);
  add("page padding", page_padding);
  add("block padding", block_padding);
  add("tables and step buffers", plan.table_bytes);
  add("unused", plan.unused_bytes);
  add("total", useful + page_padding + block_padding + plan.table_bytes + plan.unused_bytes);
  return Align(rows, 1, columns);
}

std::string CostTable(const CapacityPlan& plan, int columns) {
  const auto per_token = [](double bytes) { return absl::StrFormat("%.2f B", bytes); };
  std::vector<Cells> rows = {
      {"cost", "useful", "reserved"},
      {"one more sequence (window)", FormatBytes(plan.useful_fixed_bytes_per_sequence),
       FormatBytes(plan.fixed_bytes_per_sequence - plan.state_bytes_per_sequence)}};
  if (plan.state_bytes_per_sequence != 0) {
    rows.push_back({"one more sequence (state)", FormatBytes(plan.useful_state_bytes_per_sequence),
                    FormatBytes(plan.state_bytes_per_sequence)});
  }
  if (plan.prefix_reuse) {
    rows.push_back({"one more checkpoint", FormatBytes(plan.useful_checkpoint_bytes),
                    FormatBytes(plan.checkpoint_bytes)});
  }
  rows.push_back({"one more token (full pools)", per_token(plan.useful_bytes_per_token),
                  per_token(plan.marginal_bytes_per_token)});
  return Align(rows, 1, columns);
}

std::string FitTable(const CapacityPlan& plan, int columns) {
  std::vector<Cells> rows = {{"context", "sequences", "held back by"}};
  for (const int64_t context : kQuotedContexts) {
    const int64_t sequences = SequencesThatFit(plan, context);
    rows.push_back(
        {context >= 1 << 20 ? absl::StrCat(context >> 20, "M") : absl::StrCat(context >> 10, "K"),
         WithCommas(sequences),
         std::string(FitBoundName(context > plan.geometry.max_context_tokens ? FitBound::kMaxContext
                                  : sequences == plan.geometry.max_sequences
                                      ? FitBound::kMaxSequences
                                      : FitBound::kMemory))});
  }
  return Align(rows, 1, columns);
}

}  // namespace

std::string ToTable(const CapacityPlan& plan, int columns, bool with_fits) {
  const Geometry& geometry = plan.geometry;
  const auto line = [columns](const auto&... parts) {
    return absl::StrCat(Wrap(absl::StrCat(parts...), columns, 0), "\n");
  };
  std::string text = line(plan.model.name, ": ", plan.model.layers.size(), " layers, window of ",
                          WithCommas(geometry.window_tokens), " tokens, chunks of ",
                          WithCommas(geometry.chunk_tokens));
  absl::StrAppend(
      &text,
      line(FormatBytes(plan.memory_bytes), " for ", WithCommas(geometry.max_sequences),
           " sequences of up to ", WithCommas(geometry.max_context_tokens),
           " tokens; steps of up to ", WithCommas(geometry.max_step_tokens), " tokens, ",
           WithCommas(geometry.max_drafts), " drafts each",
           geometry.store_whole_chunk != 0 ? ", whole chunks stored" : "",
           plan.in_flight_plans != 0
               ? absl::StrCat(", ", WithCommas(plan.in_flight_plans), " plans in flight")
               : ""),
      "\n", PoolTable(plan, columns), "\n", MemoryTable(plan, columns), "\n",
      CostTable(plan, columns), "\n");
  if (plan.prefix_reuse) {
    absl::StrAppend(&text, line("room for ", WithCommas(plan.checkpoints),
                                " checkpoints of prefixes that no sequence uses"));
  }
  absl::StrAppend(&text, line("room for ", WithCommas(plan.max_tokens), " tokens in all"),
                  with_fits ? FitTable(plan, columns) : "");
  return text;
}

}  // namespace terrace
