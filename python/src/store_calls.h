// The worker's calls, added to a class that has a store: Store and Cache.

#ifndef TERRACE_PYTHON_SRC_STORE_CALLS_H_
#define TERRACE_PYTHON_SRC_STORE_CALLS_H_

#include <nanobind/nanobind.h>

#include <memory>

#include "python/src/bind.h"
#include "python/src/calls.h"
#include "python/src/store_core.h"
#include "python/src/words.h"

namespace terrace::python {

// The views of a store's memory (bind_store.cc).
nb::object PagesOf(const std::shared_ptr<StoreCore>& core, int layer, nb::handle pool,
                   nb::handle plane);
nb::object StepViewOf(const std::shared_ptr<StoreCore>& core);
nb::object StepOf(StoreCore& core);

// REQUIRES: C has store(), a StoreCore, and shared_store().
template <typename C>
void AddStepCalls(nb::class_<C>& c) {
  c.def(
       "begin",
       [](C& self, const Plan& plan, nb::handle stream, int32_t padded_token_rows) {
         Begin(self.store(), plan, stream, padded_token_rows);
       },
       "plan"_a, nb::kw_only(), "stream"_a.none() = nb::none(), "padded_token_rows"_a = 0,
       nb::sig(
           "def begin(self, plan: Plan, *, stream: Stream = None, padded_token_rows: int = 0) -> "
           "None"),
       "Makes `plan` the current step: once a plan, in order of number, before any layer.\n\n"
       "padded_token_rows: rows up to it read as 'no token', for batches padded to a captured "
       "size.\n\n"
       "Raises InvalidArgument for a plan of another geometry or one seen before,\n"
       "FailedPrecondition where plans are missing: begin the ledger's snapshot() first.\n"
       "DeviceError in the middle of the work: the store then refuses every call until it begins "
       "a\n"
       "snapshot. Releases the GIL.")
      .def(
          "copy_blocks",
          [](C& self, nb::handle pool, nb::handle sources, nb::handle destinations,
             nb::handle stream) { CopyBlocks(self.store(), pool, sources, destinations, stream); },
          "pool"_a, "sources"_a, "destinations"_a, nb::kw_only(), "stream"_a.none() = nb::none(),
          nb::sig("def copy_blocks(self, pool: int | str, sources: Ints, destinations: Ints, *, "
                  "stream: Stream = None) -> None"),
          "Copies whole blocks of a pool, all layers and planes. No block may be both a source "
          "and\n"
          "a destination. Raises InvalidArgument.")
      .def(
          "set_global_scale",
          [](C& self, int layer, nb::handle pool, float scale) {
            SetGlobalScale(self.store(), layer, pool, scale);
          },
          "layer"_a, "pool"_a, "scale"_a,
          nb::sig("def set_global_scale(self, layer: int, pool: PoolName, scale: float) -> None"),
          "The global scale of a layer's latent rows (nvfp4); 1 until set.\n\n"
          "Raises FailedPrecondition once that layer's pool was written, InvalidArgument unless\n"
          "finite and above 0.")
      .def(
          "pages",
          [](C& self, int layer, nb::handle pool, nb::handle plane) {
            return PagesOf(self.shared_store(), layer, pool, plane);
          },
          "layer"_a, "pool"_a = "full", "plane"_a = "latent",
          nb::sig(
              "def pages(self, layer: int, pool: PoolName = 'full', plane: PlaneName = 'latent') "
              "-> Pages"),
          "One layer's pages of one plane, to read in place. The views keep the store alive.\n\n"
          "Raises InvalidArgument for a layer, pool or plane that is not there.")
      .def(
          "step", [](C& self) { return StepOf(self.store()); }, nb::sig("def step(self) -> Step"),
          "Counts of the current step.")
      .def(
          "step_view", [](C& self) { return StepViewOf(self.shared_store()); },
          nb::sig("def step_view(self) -> StepView"),
          "Where the current step's rows are expanded to, at fixed addresses, for kernels of your\n"
          "own.")
      .def(
          "read_counters", [](C& self) { return ReadCounters(self.store()); },
          nb::sig("def read_counters(self) -> Counters"),
          "What kernels skipped or mended since the store was made. Does not wait for the device.")
      .def(
          "synchronize", [](C& self, nb::handle stream) { Synchronize(self.store(), stream); },
          "stream"_a.none() = nb::none(),
          nb::sig("def synchronize(self, stream: Stream = None) -> None"),
          "Waits for what was enqueued on `stream`. Releases the GIL. For tests and tools.")
      .def(
          "memory_bytes", [](C& self) { return self.store().store->memory_bytes(); },
          nb::sig("def memory_bytes(self) -> int"), "Pools and tables.")
      .def(
          "backend", [](C& self) { return std::string(self.store().store->backend().name()); },
          nb::sig("def backend(self) -> str"), "'host' or 'cuda'.")
      .def_prop_ro(
          "device", [](C& self) { return self.store().place.device; },
          "The CUDA device's ordinal; 0 on the host.");
}

// What a call gives back: the tensor that it filled.
inline nb::object Run(StoreCore& core, const std::unique_ptr<StoreCall>& call, nb::handle stream) {
  RunCall(core, *call, stream);
  return call->out;
}

template <typename C>
PyBoundCall Bind(C& self, std::unique_ptr<StoreCall> call) {
  return {self.shared_store(), std::move(call)};
}

template <typename C>
void AddWriteCalls(nb::class_<C>& c) {
  c.def(
       "write",
       [](C& self, int layer, nb::handle swa, nb::handle entries, nb::handle indexer, bool rotated,
          bool graph, nb::handle stream) {
         Run(self.store(), MakeWrite(self.store(), {layer, swa, entries, indexer, rotated, graph}),
             stream);
       },
       "layer"_a, nb::kw_only(), "swa"_a.none() = nb::none(), "entries"_a.none() = nb::none(),
       "indexer"_a.none() = nb::none(), "rotated"_a = false, "graph"_a = false,
       "stream"_a.none() = nb::none(),
       nb::sig("def write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | None = "
               "None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = False, "
               "stream: Stream = None) -> None"),
       "Rotates, quantizes and stores the rows of one layer, in one launch.\n\n"
       "swa: bf16 [token rows, channels]; entries and indexer: bf16 [entries that close in the\n"
       "step, channels]. bf16 may be given as uint16. Rows are 16-byte aligned and may have a "
       "pitch\n"
       "of a multiple of 8 elements. A tensor may have more rows than the step.\n"
       "rotated: the rows are rotated already. graph: launch for as many rows as the tensors "
       "have,\n"
       "so that a captured CUDA graph serves every step that fits.\n\n"
       "Raises InvalidArgument; nothing was enqueued then. Releases the GIL.")
      .def(
          "bind_write",
          [](C& self, int layer, nb::handle swa, nb::handle entries, nb::handle indexer,
             bool rotated, bool graph) {
            return Bind(self,
                        MakeWrite(self.store(), {layer, swa, entries, indexer, rotated, graph}));
          },
          "layer"_a, nb::kw_only(), "swa"_a.none() = nb::none(), "entries"_a.none() = nb::none(),
          "indexer"_a.none() = nb::none(), "rotated"_a = false, "graph"_a = false,
          nb::sig(
              "def bind_write(self, layer: int, *, swa: Tensor | None = None, entries: Tensor | "
              "None = None, indexer: Tensor | None = None, rotated: bool = False, graph: bool = "
              "False) -> BoundCall"),
          "The same, checked once and called many times.")
      .def(
          "compress",
          [](C& self, int layer, nb::handle kv, nb::handle score, nb::handle ape, nb::handle norm,
             nb::handle ikv, nb::handle iscore, nb::handle iape, nb::handle inorm, float eps,
             bool hadamard, bool graph, nb::handle stream) {
            Run(self.store(),
                MakeCompress(self.store(), {layer,
                                            {kv, score, ape, norm},
                                            {ikv, iscore, iape, inorm},
                                            eps,
                                            hadamard,
                                            graph}),
                stream);
          },
          "layer"_a, "kv"_a, "score"_a, "ape"_a, "norm_weight"_a, nb::kw_only(),
          "indexer_kv"_a.none() = nb::none(), "indexer_score"_a.none() = nb::none(),
          "indexer_ape"_a.none() = nb::none(), "indexer_norm_weight"_a.none() = nb::none(),
          "eps"_a = 1e-6f, "hadamard"_a = true, "graph"_a = false, "stream"_a.none() = nb::none(),
          nb::sig(
              "def compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, "
              "norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | "
              "None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None "
              "= None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False, stream: "
              "Stream = None) -> None"),
          "Makes the entries that close in the step of kv and scores, in one launch.\n\n"
          "kv, score: float32 or bf16 [token rows, w]; ape: float32 [ratio, w]; norm_weight: bf16 "
          "or\n"
          "float32 [d]. d is 512 for the latent and 128 for the indexer key, w is 2d at ratio 4, "
          "else\n"
          "d. hadamard transforms the indexer key. Once a layer and step, for models with "
          "state.\n\n"
          "Raises InvalidArgument; nothing was enqueued then. Releases the GIL.")
      .def(
          "bind_compress",
          [](C& self, int layer, nb::handle kv, nb::handle score, nb::handle ape, nb::handle norm,
             nb::handle ikv, nb::handle iscore, nb::handle iape, nb::handle inorm, float eps,
             bool hadamard, bool graph) {
            return Bind(self, MakeCompress(self.store(), {layer,
                                                          {kv, score, ape, norm},
                                                          {ikv, iscore, iape, inorm},
                                                          eps,
                                                          hadamard,
                                                          graph}));
          },
          "layer"_a, "kv"_a, "score"_a, "ape"_a, "norm_weight"_a, nb::kw_only(),
          "indexer_kv"_a.none() = nb::none(), "indexer_score"_a.none() = nb::none(),
          "indexer_ape"_a.none() = nb::none(), "indexer_norm_weight"_a.none() = nb::none(),
          "eps"_a = 1e-6f, "hadamard"_a = true, "graph"_a = false,
          nb::sig(
              "def bind_compress(self, layer: int, kv: Tensor, score: Tensor, ape: Tensor, "
              "norm_weight: Tensor, *, indexer_kv: Tensor | None = None, indexer_score: Tensor | "
              "None = None, indexer_ape: Tensor | None = None, indexer_norm_weight: Tensor | None "
              "= None, eps: float = 1e-6, hadamard: bool = True, graph: bool = False) -> "
              "BoundCall"),
          "The same, checked once and called many times.");
}

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_STORE_CALLS_H_
