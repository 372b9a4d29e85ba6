#include "tools/terrace/commands/capacity_json.h"

#include <string>

#include "absl/strings/str_format.h"
#include "terrace/formats/row_format.h"
#include "tools/terrace/commands/model_json.h"

namespace terrace::tools {
namespace {

using Json = nlohmann::ordered_json;

Json PoolToJson(const PoolBudget& budget, const PoolSpec& spec, const PoolGeometry& geometry) {
  const PoolPages& place = budget.place;
  Json planes = Json::array();
  for (size_t plane = 0; plane < spec.planes.size(); ++plane) {
    planes.push_back({{"format", std::string(RowFormatName(spec.planes[plane].format))},
                      {"offset_bytes", place.plane_offset[plane]},
                      {"page_bytes", place.page_bytes[plane]}});
  }
  return {{"name", budget.name},
          {"kind", std::string(PoolKindName(budget.kind))},
          {"layers", place.layers},
          {"tokens_per_entry", geometry.ratio},
          {"entries_per_block", geometry.entries_per_block},
          {"tokens_per_block", geometry.tokens_per_block},
          {"blocks_per_lane", geometry.blocks_per_sequence},
          {"capacity_blocks", budget.blocks},
          {"block_bytes", place.reserved_bytes_per_block()},
          {"useful_bytes_per_block", place.useful_bytes_per_block},
          {"page_padding_bytes_per_block", place.page_padding_bytes_per_block},
          {"block_padding_bytes_per_block", place.block_padding_bytes_per_block},
          {"total_bytes", place.total_bytes},
          {"layout", std::string(PoolLayoutName(spec.layout))},
          {"block_stride_bytes", place.block_stride},
          {"layer_stride_bytes", place.layer_stride},
          {"planes", planes},
          {"opaque_bytes", HoldsRows(spec.kind) ? 0 : place.page_bytes[0]}};
}

Json FitToJson(const ContextFit& fit) {
  Json choices = Json::array();
  for (const FitChoice& choice : fit.choices) {
    choices.push_back({{"setting", std::string(CapacitySettingName(choice.setting))},
                       {"sequences", choice.sequences}});
  }
  return {{"context_tokens", fit.context_tokens},
          {"sequences", fit.sequences},
          {"held_back_by", std::string(FitBoundName(fit.bound))},
          {"most_sequences", fit.choices.back().sequences},
          {"choices", choices}};
}

}  // namespace

Json CapacityToJson(const CapacityPlan& plan, const std::vector<ContextFit>& fits,
                    const std::vector<WorkerShare>& workers) {
  const Geometry& geometry = plan.geometry;
  Json pools = Json::array();
  for (size_t p = 0; p < plan.pools.size(); ++p) {
    pools.push_back(PoolToJson(plan.pools[p], plan.model.pools[p], geometry.pools[p]));
  }
  Json contexts = Json::array();
  for (const ContextFit& fit : fits) contexts.push_back(FitToJson(fit));
  Json shares = Json::array();
  for (const WorkerShare& worker : workers) {
    shares.push_back({{"first_layer", worker.layers.first},
                      {"num_layers", worker.layers.count},
                      {"memory_bytes", worker.bytes}});
  }
  return {{"memory_bytes", plan.memory_bytes},
          {"table_bytes", plan.table_bytes},
          {"unused_bytes", plan.unused_bytes},
          {"pools", pools},
          {"max_tokens", plan.max_tokens},
          {"prefix_reuse", plan.prefix_reuse},
          {"checkpoints", plan.checkpoints},
          {"checkpoint_bytes", plan.checkpoint_bytes},
          {"useful_checkpoint_bytes", plan.useful_checkpoint_bytes},
          {"fixed_bytes_per_sequence", plan.fixed_bytes_per_sequence},
          {"useful_fixed_bytes_per_sequence", plan.useful_fixed_bytes_per_sequence},
          {"state_bytes_per_sequence", plan.state_bytes_per_sequence},
          {"useful_state_bytes_per_sequence", plan.useful_state_bytes_per_sequence},
          {"marginal_bytes_per_token", plan.marginal_bytes_per_token},
          {"useful_bytes_per_token", plan.useful_bytes_per_token},
          {"sequences_that_fit", contexts},
          {"workers", shares},
          {"limits",
           {{"max_sequences", geometry.max_sequences},
            {"prefill_sequences", plan.prefill_sequences},
            {"in_flight_plans", plan.in_flight_plans},
            {"max_step_tokens", geometry.max_step_tokens},
            {"max_drafts", geometry.max_drafts},
            {"max_context_tokens", geometry.max_context_tokens},
            {"store_whole_chunk", geometry.store_whole_chunk != 0}}},
          {"geometry_fingerprint", absl::StrFormat("%016x", Fingerprint(geometry))},
          {"model", ModelToJson(plan.model)}};
}

}  // namespace terrace::tools
