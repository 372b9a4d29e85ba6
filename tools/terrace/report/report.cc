#include "tools/terrace/report/report.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "src/base/text_table.h"
#include "terrace/units.h"

namespace terrace::tools {
namespace {

using internal::WithCommas;

double Ratio(double value, double of) { return of > 0 ? value / of : 0; }

// Lines of a label and what belongs to it, the labels in one column.
class Table {
 public:
  explicit Table(int columns) : columns_(columns) {}

  template <typename... Parts>
  void Add(const char* label, const Parts&... parts) {
    const std::string line = absl::StrCat(absl::StrFormat("%-14s ", label), parts...);
    absl::StrAppend(&text_, internal::Wrap(line, columns_, kLabel), "\n");
  }
  void AddTable(const std::vector<internal::Cells>& rows) {
    absl::StrAppend(&text_, internal::Align(rows, 1, columns_));
  }
  std::string text() const { return text_; }

 private:
  static constexpr int kLabel = 15;
  int columns_;
  std::string text_;
};

std::string Layers(const ReplayResult& result) {
  if (result.layers.count == 0) return "no data, the ledger alone";
  const int32_t first = result.layers.first;
  const int32_t last = first + result.layers.count - 1;
  const size_t all = result.capacity.model.layers.size();
  return absl::StrFormat("%s backend, layers %d to %d of %d, %s", result.backend, first, last, all,
                         FormatBytes(result.store_bytes));
}

void AddPools(const ReplayResult& result, Table& table) {
  const auto peak = [](int32_t blocks, int32_t capacity) {
    return absl::StrFormat("%s %6.1f %%", WithCommas(blocks), 100 * Ratio(blocks, capacity));
  };
  std::vector<internal::Cells> rows = {
      {"pool", "blocks", "peak live", "peak cached", "block bytes"}};
  for (size_t p = 0; p < result.capacity.pools.size(); ++p) {
    const PoolBudget& pool = result.capacity.pools[p];
    rows.push_back({absl::StrCat("  ", pool.name), WithCommas(pool.blocks),
                    peak(result.occupancy.peak()[p], pool.blocks),
                    peak(result.scheduler.peak_cached_blocks[p], pool.blocks),
                    WithCommas(pool.place.reserved_bytes_per_block())});
  }
  table.AddTable(rows);
}

void AddPrefix(const ReplayResult& result, Table& table) {
  const PrefixFigures& prefix = result.prefix;
  table.Add("prefix", "matched ", WithCommas(prefix.matched_tokens), " of ",
            WithCommas(prefix.prompt_tokens), " tokens",
            absl::StrFormat(", %.1f %%", 100 * Ratio(prefix.matched_tokens, prefix.prompt_tokens)),
            "; ", WithCommas(prefix.hits), " hits of ", WithCommas(prefix.lookups), " lookups");
  table.Add("  of them", "saved ", WithCommas(prefix.saved_tokens()),
            absl::StrFormat(", %.1f %%", 100 * Ratio(prefix.saved_tokens(), prefix.matched_tokens)),
            " (resumed ", WithCommas(prefix.resumed_tokens), ", skipped ",
            WithCommas(prefix.skipped_tokens), "), replayed ", WithCommas(prefix.refed_tokens));
  table.Add("  checkpoints", WithCommas(prefix.stored_checkpoints), " stored, ",
            WithCommas(prefix.evicted_checkpoints), " evicted, ",
            WithCommas(prefix.missed_checkpoints), " missed; peak ",
            FormatBytes(result.checkpoint_bytes_peak));
  table.Add("  chunks", WithCommas(prefix.stored_chunks), " stored, ",
            WithCommas(prefix.evicted_chunks), " evicted, ", WithCommas(prefix.indexed_chunks),
            " held at the end");
}

void AddVerified(const ReplayResult& result, Table& table) {
  const VerifierStats& stats = result.verifier;
  table.Add("rows verified", WithCommas(stats.verified_rows), ", corrupt ",
            WithCommas(stats.corrupt_rows), "; ", WithCommas(stats.absent_rows),
            " absent rows read as zero");
  if (stats.verified_entries > 0) {
    table.Add("  compressed", WithCommas(stats.verified_entries),
              absl::StrFormat(" of them, largest error %.2f of what is tolerated",
                              stats.largest_entry_error));
  }
  std::string classes;
  for (int c = 0; c < kNumRowClasses; ++c) {
    absl::StrAppend(
        &classes, c == 0 ? "" : ", ", RowClassName(static_cast<RowClass>(c)), " ",
        absl::StrFormat("%.1f %%", 100 * Ratio(stats.verified_by_class[c], stats.verified_rows)));
  }
  table.Add("  on borders", classes);
}

}  // namespace

double LedgerDecodeNsPerSequenceStep(const SchedulerStats& stats) {
  return Ratio(stats.ledger_decode_ns, stats.decode_sequence_steps);
}

double LedgerPrefillNsPerToken(const SchedulerStats& stats) {
  return Ratio(stats.ledger_prefill_ns, stats.prefill_tokens);
}

std::string ReplayTable(const ReplayResult& result, int columns) {
  const SchedulerStats& stats = result.scheduler;
  Table table(columns);
  table.Add("model", result.capacity.model.name, ", ", FormatBytes(result.capacity.memory_bytes),
            ": ", WithCommas(result.capacity.max_tokens), " tokens");
  table.Add("store", Layers(result));
  table.Add("requests", WithCommas(stats.requests), ": completed ", WithCommas(stats.completed),
            ", failed ", WithCommas(stats.failed), ", preemptions ", WithCommas(stats.preemptions));
  if (stats.interrupted) table.Add("interrupted", "the figures are those of the run so far");
  table.Add("tokens", "prompt ", WithCommas(stats.prompt_tokens), ", decode ",
            WithCommas(stats.decode_tokens), ", recomputed ", WithCommas(stats.recomputed_tokens));
  table.Add("steps", WithCommas(stats.steps), " of ",
            absl::StrFormat("%.1f", Ratio(stats.sequence_steps, stats.steps)),
            " sequences; drafts ", WithCommas(stats.drafts), ", rejected ",
            WithCommas(stats.rejected_drafts));
  table.Add("time", absl::StrFormat("%.1f s simulated in %.1f s, %.3g M tokens/s",
                                    stats.simulated_seconds, result.wall_seconds,
                                    Ratio(stats.prompt_tokens + stats.decode_tokens,
                                          result.wall_seconds * 1e6)));
  table.Add("ledger",
            absl::StrFormat("decode %.1f ns a sequence and step, prefill %.2f ns a token",
                            LedgerDecodeNsPerSequenceStep(stats), LedgerPrefillNsPerToken(stats)));
  if (result.prefix.stored_chunks > 0) AddPrefix(result, table);
  table.Add("host memory", "peak ", FormatBytes(result.peak_memory_bytes));
  if (result.layers.count > 0) AddVerified(result, table);
  table.Add("leaked blocks", WithCommas(result.leaked_blocks));
  AddPools(result, table);
  return table.text();
}

nlohmann::ordered_json ReplayJson(const ReplayResult& result) {
  const SchedulerStats& stats = result.scheduler;
  const VerifierStats& verifier = result.verifier;
  const PrefixFigures& prefix = result.prefix;
  nlohmann::ordered_json by_class;
  for (int c = 0; c < kNumRowClasses; ++c) {
    by_class[RowClassName(static_cast<RowClass>(c))] = verifier.verified_by_class[c];
  }
  nlohmann::ordered_json pools = nlohmann::ordered_json::array();
  for (size_t p = 0; p < result.capacity.pools.size(); ++p) {
    const PoolBudget& pool = result.capacity.pools[p];
    pools.push_back({{"name", pool.name},
                     {"capacity_blocks", pool.blocks},
                     {"peak_live_blocks", result.occupancy.peak()[p]},
                     {"peak_cached_blocks", stats.peak_cached_blocks[p]},
                     {"block_bytes", pool.place.reserved_bytes_per_block()}});
  }
  return {{"model", result.capacity.model.name},
          {"memory_bytes", result.capacity.memory_bytes},
          {"max_tokens", result.capacity.max_tokens},
          {"backend", result.backend},
          {"first_layer", result.layers.first},
          {"num_layers", result.layers.count},
          {"store_bytes", result.store_bytes},
          {"requests", stats.requests},
          {"completed", stats.completed},
          {"failed", stats.failed},
          {"interrupted", stats.interrupted},
          {"preemptions", stats.preemptions},
          {"steps", stats.steps},
          {"sequence_steps", stats.sequence_steps},
          {"prompt_tokens", stats.prompt_tokens},
          {"decode_tokens", stats.decode_tokens},
          {"recomputed_tokens", stats.recomputed_tokens},
          {"matched_tokens", prefix.matched_tokens},
          {"resumed_tokens", prefix.resumed_tokens},
          {"replayed_tokens", prefix.refed_tokens},
          {"saved_tokens", prefix.saved_tokens()},
          {"checkpoint_bytes_peak", result.checkpoint_bytes_peak},
          {"evicted_chunks", prefix.evicted_chunks},
          {"drafts", stats.drafts},
          {"rejected_drafts", stats.rejected_drafts},
          {"simulated_seconds", stats.simulated_seconds},
          {"ledger_decode_ns_per_sequence_step", LedgerDecodeNsPerSequenceStep(stats)},
          {"ledger_prefill_ns_per_token", LedgerPrefillNsPerToken(stats)},
          {"wall_seconds", result.wall_seconds},
          {"peak_memory_bytes", result.peak_memory_bytes},
          {"verified_rows", verifier.verified_rows},
          {"verified_by_class", by_class},
          {"absent_rows", verifier.absent_rows},
          {"corrupt_rows", verifier.corrupt_rows},
          {"verified_entries", verifier.verified_entries},
          {"largest_entry_error", verifier.largest_entry_error},
          {"leaked_blocks", result.leaked_blocks},
          {"store_counters",
           {{"nonfinite_values", result.counters.nonfinite_values},
            {"skipped_slots", result.counters.skipped_slots},
            {"skipped_entries", result.counters.skipped_entries},
            {"skipped_positions", result.counters.skipped_positions},
            {"stale_states", result.counters.stale_states}}},
          {"pools", pools},
          {"prefix", nlohmann::ordered_json::parse(ToJson(prefix))}};
}

}  // namespace terrace::tools
