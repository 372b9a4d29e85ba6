#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "python/src/bind.h"
#include "python/src/errors.h"
#include "python/src/model_argument.h"
#include "python/src/numbers.h"
#include "python/src/words.h"
#include "terrace/capacity.h"
#include "terrace/geometry.h"
#include "terrace/units.h"
#include "tools/terrace/commands/capacity_fits.h"
#include "tools/terrace/commands/capacity_json.h"

namespace terrace::python {
namespace {

CapacityRequest RequestOf(nb::handle model, nb::handle memory, const Limits& limits,
                          int32_t prefill_sequences, bool prefix_reuse, int32_t checkpoints,
                          int32_t in_flight_plans) {
  return {.model = ModelOf(model),
          .memory_bytes = BytesOf(memory, "memory"),
          .limits = limits,
          .prefill_sequences = prefill_sequences,
          .prefix_reuse = prefix_reuse,
          .checkpoints = checkpoints,
          .in_flight_plans = in_flight_plans};
}

CapacityPlan MakePlan(nb::handle model, nb::handle memory, const Limits& limits,
                      int32_t prefill_sequences, bool prefix_reuse, int32_t checkpoints,
                      int32_t in_flight_plans) {
  return Take(PlanCapacity(RequestOf(model, memory, limits, prefill_sequences, prefix_reuse,
                                     checkpoints, in_flight_plans)));
}

ContextFit Fit(nb::handle model, nb::handle memory, int64_t context_tokens, const Limits& limits,
               int32_t prefill_sequences, bool prefix_reuse, int32_t checkpoints,
               int32_t in_flight_plans) {
  const CapacityRequest request = RequestOf(model, memory, limits, prefill_sequences, prefix_reuse,
                                            checkpoints, in_flight_plans);
  return Take([&] {
    const nb::gil_scoped_release released;
    return FitContext(request, context_tokens);
  }());
}

int32_t Most(nb::handle model, nb::handle memory, int64_t context_tokens, const Limits& limits,
             int32_t prefill_sequences, bool prefix_reuse, int32_t checkpoints,
             int32_t in_flight_plans) {
  const CapacityRequest request = RequestOf(model, memory, limits, prefill_sequences, prefix_reuse,
                                            checkpoints, in_flight_plans);
  return Take([&] {
    const nb::gil_scoped_release released;
    return MostSequences(request, context_tokens);
  }());
}

CapacityPlan PlanChoice(const FitChoice& choice, nb::handle model, nb::handle memory,
                        int64_t context_tokens, const Limits& limits, int32_t prefill_sequences,
                        bool prefix_reuse, int32_t checkpoints, int32_t in_flight_plans) {
  const CapacityRequest request = RequestOf(model, memory, limits, prefill_sequences, prefix_reuse,
                                            checkpoints, in_flight_plans);
  return Take(PlanCapacity(WithChoice(request, choice, context_tokens)));
}

void BindFits(nb::module_& module) {
  nb::class_<FitChoice>(module, "FitChoice",
                        "How many sequences fit if max_sequences is that number and one setting "
                        "takes least.")
      .def_prop_ro(
          "setting",
          [](const FitChoice& choice) { return std::string(CapacitySettingName(choice.setting)); },
          "The field's name; 'all' for all of them at once.")
      .def_ro("sequences", &FitChoice::sequences);
  nb::class_<ContextFit>(module, "ContextFit",
                         "How many sequences of one length fit, and what would make them more.")
      .def_ro("context_tokens", &ContextFit::context_tokens)
      .def_ro("sequences", &ContextFit::sequences, "With the request as it is.")
      .def_prop_ro(
          "bound", [](const ContextFit& fit) { return std::string(FitBoundName(fit.bound)); },
          "What ends the number: 'max_context_tokens', 'max_sequences' or 'memory'.")
      .def_ro("choices", &ContextFit::choices, "Of settings that can still take less.");
  module.def(
      "fit_context", &Fit, "model"_a, "memory"_a, "context_tokens"_a, nb::kw_only(),
      "limits"_a = Limits(), "prefill_sequences"_a = 0, "prefix_reuse"_a = true,
      "checkpoints"_a = -1, "in_flight_plans"_a = 0,
      nb::sig("def fit_context(model: ModelSpec | str, memory: int | str, context_tokens: int, *, "
              "limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, "
              "checkpoints: int = -1, in_flight_plans: int = 0) -> ContextFit"),
      "How many sequences of `context_tokens` tokens fit, and what would make them more.\n\n"
      "Some hundred times the work of plan_capacity. Raises InvalidArgument. Releases the GIL.");
  module.def(
      "most_sequences", &Most, "model"_a, "memory"_a, "context_tokens"_a, nb::kw_only(),
      "limits"_a = Limits(), "prefill_sequences"_a = 0, "prefix_reuse"_a = true,
      "checkpoints"_a = -1, "in_flight_plans"_a = 0,
      nb::sig(
          "def most_sequences(model: ModelSpec | str, memory: int | str, context_tokens: int, *, "
          "limits: Limits = ..., prefill_sequences: int = 0, prefix_reuse: bool = True, "
          "checkpoints: int = -1, in_flight_plans: int = 0) -> int"),
      "The largest max_sequences with which so many sequences of that length fit; 0 if not one.");
  module.def(
      "plan_choice", &PlanChoice, "choice"_a, "model"_a, "memory"_a, "context_tokens"_a,
      nb::kw_only(), "limits"_a = Limits(), "prefill_sequences"_a = 0, "prefix_reuse"_a = true,
      "checkpoints"_a = -1, "in_flight_plans"_a = 0,
      nb::sig("def plan_choice(choice: FitChoice, model: ModelSpec | str, memory: int | str, "
              "context_tokens: int, *, limits: Limits = ..., prefill_sequences: int = 0, "
              "prefix_reuse: bool = True, checkpoints: int = -1, in_flight_plans: int = 0) -> "
              "CapacityPlan"),
      "plan_capacity of what a choice of fit_context says: it holds choice.sequences of\n"
      "`context_tokens` tokens. The rest as it was given to fit_context.");
}

void MakeLimits(Limits* self, int32_t max_sequences, int32_t max_step_tokens, int32_t max_drafts,
                int32_t max_context_tokens, bool store_whole_chunk) {
  new (self)
      Limits{max_sequences, max_step_tokens, max_drafts, max_context_tokens, store_whole_chunk};
}

void BindLimits(nb::module_& module) {
  const Limits defaults;
  nb::class_<Limits>(module, "Limits", "The most that a deployment may ask for at once.")
      .def(
          "__init__", &MakeLimits, nb::kw_only(), "max_sequences"_a = defaults.max_sequences,
          "max_step_tokens"_a = defaults.max_step_tokens, "max_drafts"_a = defaults.max_drafts,
          "max_context_tokens"_a = defaults.max_context_tokens, "store_whole_chunk"_a = false,
          "max_sequences: live at one time. max_step_tokens: of one append, drafts included.\n"
          "max_drafts: speculative tokens of one sequence in one step. max_context_tokens: of one\n"
          "sequence; 0 is the model's. store_whole_chunk: store every window row of a prefill\n"
          "piece until the next step.")
      .def_ro("max_sequences", &Limits::max_sequences)
      .def_ro("max_step_tokens", &Limits::max_step_tokens)
      .def_ro("max_drafts", &Limits::max_drafts)
      .def_ro("max_context_tokens", &Limits::max_context_tokens)
      .def_ro("store_whole_chunk", &Limits::store_whole_chunk);
}

std::vector<PoolGeometry> Pools(const Geometry& geometry) {
  return {geometry.pools, geometry.pools + geometry.num_pools};
}

int64_t EntryRows(const Geometry& geometry, int pool) {
  if (pool < 0 || pool >= geometry.num_pools) {
    RaiseInvalid("pool ", pool, " is not in 0..", geometry.num_pools - 1);
  }
  return MaxEntryRows(geometry, PoolIndex(pool));
}

void BindGeometry(nb::module_& module) {
  nb::class_<PoolGeometry>(module, "PoolGeometry", "Sizes of one pool, in blocks and tokens.")
      .def_prop_ro("kind", [](const PoolGeometry& p) { return WordOf(p.kind); })
      .def_prop_ro("rule", [](const PoolGeometry& p) { return WordOf(p.rule); })
      .def_ro("ratio", &PoolGeometry::ratio, "Tokens per entry.")
      .def_ro("entries_per_block", &PoolGeometry::entries_per_block)
      .def_ro("tokens_per_block", &PoolGeometry::tokens_per_block)
      .def_ro("capacity_blocks", &PoolGeometry::capacity_blocks)
      .def_ro("blocks_per_sequence", &PoolGeometry::blocks_per_sequence,
              "Length of a sequence's row in the block table.");
  nb::class_<Geometry>(module, "Geometry",
                       "The summary of a deployment that ledger, plans and stores agree on.")
      .def_ro("num_pools", &Geometry::num_pools)
      .def_ro("window_tokens", &Geometry::window_tokens)
      .def_ro("chunk_tokens", &Geometry::chunk_tokens)
      .def_ro("max_sequences", &Geometry::max_sequences)
      .def_ro("max_step_tokens", &Geometry::max_step_tokens)
      .def_ro("max_drafts", &Geometry::max_drafts)
      .def_ro("max_context_tokens", &Geometry::max_context_tokens)
      .def_prop_ro("store_whole_chunk", [](const Geometry& g) { return g.store_whole_chunk != 0; })
      .def_ro("num_layers", &Geometry::num_layers)
      .def_prop_ro("pools", &Pools)
      .def_prop_ro("fingerprint", &Fingerprint, "64 bits over all fields; plans carry it.")
      .def("max_entry_rows", &EntryRows, "pool"_a, "Most entry rows that one step can close.")
      .def("max_step_plan_bytes", &MaxStepPlanBytes, "Room for the plan of any step.")
      .def("table_bytes", &TableBytes, "Bytes of a store's block tables and step buffers.");
}

// As `terrace capacity` writes it, of a request that asks for what the plan gave.
std::string ToJsonText(const CapacityPlan& plan) {
  const std::vector<ContextFit> fits = Take([&] {
    const nb::gil_scoped_release released;
    return tools::FitContexts({.model = plan.model,
                               .memory_bytes = plan.memory_bytes,
                               .limits = plan.limits,
                               .prefill_sequences = plan.prefill_sequences,
                               .prefix_reuse = plan.prefix_reuse,
                               .checkpoints = static_cast<int32_t>(plan.checkpoints),
                               .in_flight_plans = plan.in_flight_plans});
  }());
  return tools::CapacityToJson(plan, fits, {}).dump(2);
}

void BindCapacityPlan(nb::module_& module) {
  nb::class_<PoolBudget>(module, "PoolBudget", "What a capacity plan gives one pool.")
      .def_ro("name", &PoolBudget::name)
      .def_prop_ro("kind", [](const PoolBudget& p) { return WordOf(p.kind); })
      .def_ro("blocks", &PoolBudget::blocks)
      .def_prop_ro(
          "block_bytes", [](const PoolBudget& p) { return p.place.reserved_bytes_per_block(); },
          "Bytes that a block reserves, padding included.")
      .def_prop_ro("useful_block_bytes",
                   [](const PoolBudget& p) { return p.place.useful_bytes_per_block; })
      .def_prop_ro("total_bytes", [](const PoolBudget& p) { return p.place.total_bytes; });
  nb::class_<CapacityPlan>(module, "CapacityPlan",
                           "A byte budget divided over the pools, exactly:\n"
                           "memory = tables + sum of blocks * block_bytes + unused.")
      .def_ro("model", &CapacityPlan::model)
      .def_ro("limits", &CapacityPlan::limits)
      .def_ro("geometry", &CapacityPlan::geometry)
      .def_ro("pools", &CapacityPlan::pools)
      .def_ro("prefill_sequences", &CapacityPlan::prefill_sequences)
      .def_ro("prefix_reuse", &CapacityPlan::prefix_reuse)
      .def_ro("in_flight_plans", &CapacityPlan::in_flight_plans)
      .def_ro("memory_bytes", &CapacityPlan::memory_bytes)
      .def_ro("table_bytes", &CapacityPlan::table_bytes)
      .def_ro("unused_bytes", &CapacityPlan::unused_bytes)
      .def_ro("max_tokens", &CapacityPlan::max_tokens, "Tokens that the full pools hold.")
      .def_ro("checkpoints", &CapacityPlan::checkpoints)
      .def_ro("checkpoint_bytes", &CapacityPlan::checkpoint_bytes)
      .def_ro("useful_checkpoint_bytes", &CapacityPlan::useful_checkpoint_bytes)
      .def_ro("fixed_bytes_per_sequence", &CapacityPlan::fixed_bytes_per_sequence)
      .def_ro("useful_fixed_bytes_per_sequence", &CapacityPlan::useful_fixed_bytes_per_sequence)
      .def_ro("state_bytes_per_sequence", &CapacityPlan::state_bytes_per_sequence)
      .def_ro("useful_state_bytes_per_sequence", &CapacityPlan::useful_state_bytes_per_sequence)
      .def_ro("marginal_bytes_per_token", &CapacityPlan::marginal_bytes_per_token)
      .def_ro("useful_bytes_per_token", &CapacityPlan::useful_bytes_per_token)
      .def("sequences_that_fit", &SequencesThatFit, "context_tokens"_a,
           "How many sequences of so many tokens each fit.")
      .def(
          "worker_bytes",
          [](const CapacityPlan& plan, nb::handle layers) {
            return Take(WorkerBytes(plan, LayersOf(layers)));
          },
          "layers"_a, nb::sig("def worker_bytes(self, layers: range) -> int"),
          "Bytes of the store of a worker that holds `layers`. Raises InvalidArgument.")
      .def(
          "to_table", [](const CapacityPlan& plan) { return ToTable(plan); },
          "A table for people, as `terrace capacity` prints it.")
      .def("to_json", &ToJsonText, "The JSON of `terrace capacity --json`. Some milliseconds.")
      .def("__repr__", [](const CapacityPlan& plan) {
        return absl::StrCat("<terrace_kv.CapacityPlan of ", plan.model.name, ", ",
                            FormatBytes(plan.memory_bytes), ": ", plan.max_tokens, " tokens>");
      });
}

}  // namespace

int64_t BytesOf(nb::handle bytes, const char* name) {
  if (PyUnicode_Check(bytes.ptr())) return Take(ParseBytes(nb::cast<std::string>(bytes)));
  return WholeNumber<int64_t>(bytes, name);
}

LayerRange LayersOf(nb::handle layers) {
  if (layers.is_none()) return {};
  if (!PyRange_Check(layers.ptr()) || nb::cast<int64_t>(layers.attr("step")) != 1) {
    RaiseInvalid("layers is no range of step 1");
  }
  const auto first = WholeNumber<int32_t>(layers.attr("start"), "layers.start");
  const auto last = WholeNumber<int32_t>(layers.attr("stop"), "layers.stop");
  if (last <= first) RaiseInvalid("layers ", first, "..", last, " are empty");
  return {first, last - first};
}

void BindCapacity(nb::module_& module) {
  BindLimits(module);
  BindGeometry(module);
  BindCapacityPlan(module);
  module.def(
      "plan_capacity", &MakePlan, "model"_a, "memory"_a, nb::kw_only(), "limits"_a = Limits(),
      "prefill_sequences"_a = 0, "prefix_reuse"_a = true, "checkpoints"_a = -1,
      "in_flight_plans"_a = 0,
      nb::sig("def plan_capacity(model: ModelSpec | str, memory: int | str, *, limits: Limits "
              "= ..., prefill_sequences: int = 0, prefix_reuse: bool = True, checkpoints: int "
              "= -1, in_flight_plans: int = 0) -> CapacityPlan"),
      "What `memory` (bytes, or text such as '40GiB') holds of a model.\n\n"
      "prefill_sequences: charged a prefill step's windows; 0 is all. checkpoints: of prefixes\n"
      "that no live sequence uses; -1 is an eighth of the rest.\n\n"
      "Raises InvalidArgument, or ResourceExhausted that says how much it would take.");
  BindFits(module);
  module.def(
      "parse_bytes", [](const std::string& text) { return Take(ParseBytes(text)); }, "text"_a,
      "Bytes of a text such as '1.5GiB' or '40GB'. Raises InvalidArgument.");
  module.def("format_bytes", &FormatBytes, "bytes"_a, "Text such as '40.0 GiB'.");
}

}  // namespace terrace::python
