// The worker's calls that read, and those by raw slot, added to a class that has a store.

#ifndef TERRACE_PYTHON_SRC_STORE_READ_CALLS_H_
#define TERRACE_PYTHON_SRC_STORE_READ_CALLS_H_

#include <nanobind/nanobind.h>

#include "python/src/store_calls.h"

namespace terrace::python {

template <typename C>
void AddTranslateCalls(nb::class_<C>& c) {
  c.def(
       "translate_top_k",
       [](C& self, int layer, nb::handle entries, nb::handle out, nb::handle lengths,
          nb::handle queries, nb::handle stream) {
         return Run(self.store(),
                    MakeTranslate(self.store(), {.chosen = Chosen::kTopK,
                                                 .layer = layer,
                                                 .entries = entries,
                                                 .queries = queries,
                                                 .out = out,
                                                 .lengths = lengths}),
                    stream);
       },
       "layer"_a, "entries"_a, "out"_a.none() = nb::none(), "lengths"_a.none() = nb::none(),
       nb::kw_only(), "queries"_a.none() = nb::none(), "stream"_a.none() = nb::none(),
       nb::sig(
           "def translate_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, "
           "lengths: Tensor | None = None, *, queries: Queries = None, stream: Stream = None) -> "
           "Any"),
       "Slots of chosen entries of the layer's full pool.\n\n"
       "entries: int32 [queries, k], 0 = the sequence's first entry, -1 = none. out: int32 "
       "[queries,\n"
       "k rounded up to 64], -1 beyond a query's rows; a new array if None. lengths: int32\n"
       "[queries], 1 + index of the last slot that is not -1. queries: token rows of the step "
       "that\n"
       "ask, int32 [queries]; an int n for the first n; None for all.\n\n"
       "Gives `out`. Raises InvalidArgument. Releases the GIL.")
      .def(
          "bind_translate_top_k",
          [](C& self, int layer, nb::handle entries, nb::handle out, nb::handle lengths,
             nb::handle queries) {
            return Bind(self, MakeTranslate(self.store(), {.chosen = Chosen::kTopK,
                                                           .layer = layer,
                                                           .entries = entries,
                                                           .queries = queries,
                                                           .out = out,
                                                           .lengths = lengths}));
          },
          "layer"_a, "entries"_a, "out"_a, "lengths"_a.none() = nb::none(), nb::kw_only(),
          "queries"_a.none() = nb::none(),
          nb::sig(
              "def bind_translate_top_k(self, layer: int, entries: Tensor, out: Tensor, lengths: "
              "Tensor | None = None, *, queries: Queries = None) -> BoundCall"),
          "The same, checked once and called many times.")
      .def(
          "translate_visible",
          [](C& self, int layer, nb::handle max_entries, nb::handle out, nb::handle lengths,
             nb::handle queries, nb::handle stream) {
            return Run(self.store(),
                       MakeTranslate(self.store(), {.chosen = Chosen::kVisible,
                                                    .layer = layer,
                                                    .max_entries = max_entries,
                                                    .queries = queries,
                                                    .out = out,
                                                    .lengths = lengths}),
                       stream);
          },
          "layer"_a, "max_entries"_a.none() = nb::none(), "out"_a.none() = nb::none(),
          "lengths"_a.none() = nb::none(), nb::kw_only(), "queries"_a.none() = nb::none(),
          "stream"_a.none() = nb::none(),
          nb::sig(
              "def translate_visible(self, layer: int, max_entries: int | None = None, out: "
              "Tensor | None = None, lengths: Tensor | None = None, *, queries: Queries = None, "
              "stream: Stream = None) -> Any"),
          "Slots of all entries that a query sees, at most `max_entries` (None: as many as `out`\n"
          "has columns). Otherwise as translate_top_k.")
      .def(
          "bind_translate_visible",
          [](C& self, int layer, nb::handle max_entries, nb::handle out, nb::handle lengths,
             nb::handle queries) {
            return Bind(self, MakeTranslate(self.store(), {.chosen = Chosen::kVisible,
                                                           .layer = layer,
                                                           .max_entries = max_entries,
                                                           .queries = queries,
                                                           .out = out,
                                                           .lengths = lengths}));
          },
          "layer"_a, "max_entries"_a.none(), "out"_a, "lengths"_a.none() = nb::none(),
          nb::kw_only(), "queries"_a.none() = nb::none(),
          nb::sig(
              "def bind_translate_visible(self, layer: int, max_entries: int | None, out: Tensor, "
              "lengths: Tensor | None = None, *, queries: Queries = None) -> BoundCall"),
          "The same, checked once and called many times.")
      .def(
          "translate_window",
          [](C& self, int layer, nb::handle out, nb::handle lengths, nb::handle queries,
             nb::handle stream) {
            return Run(
                self.store(),
                MakeTranslate(self.store(),
                              {.layer = layer, .queries = queries, .out = out, .lengths = lengths}),
                stream);
          },
          "layer"_a, "out"_a.none() = nb::none(), "lengths"_a.none() = nb::none(), nb::kw_only(),
          "queries"_a.none() = nb::none(), "stream"_a.none() = nb::none(),
          nb::sig(
              "def translate_window(self, layer: int, out: Tensor | None = None, lengths: Tensor "
              "| None = None, *, queries: Queries = None, stream: Stream = None) -> Any"),
          "Slots of a query's window: out is int32 [queries, window_tokens rounded up to 64].\n"
          "Otherwise as translate_top_k.")
      .def(
          "bind_translate_window",
          [](C& self, int layer, nb::handle out, nb::handle lengths, nb::handle queries) {
            return Bind(self,
                        MakeTranslate(
                            self.store(),
                            {.layer = layer, .queries = queries, .out = out, .lengths = lengths}));
          },
          "layer"_a, "out"_a, "lengths"_a.none() = nb::none(), nb::kw_only(),
          "queries"_a.none() = nb::none(),
          nb::sig(
              "def bind_translate_window(self, layer: int, out: Tensor, lengths: Tensor | None = "
              "None, *, queries: Queries = None) -> BoundCall"),
          "The same, checked once and called many times.");
}

template <typename C>
void AddGatherCalls(nb::class_<C>& c) {
  c.def(
       "gather_top_k",
       [](C& self, int layer, nb::handle entries, nb::handle out, nb::handle queries,
          nb::handle plane, bool rotate, nb::handle stream) {
         return Run(self.store(),
                    MakeGather(self.store(), {.chosen = Chosen::kTopK,
                                              .layer = layer,
                                              .entries = entries,
                                              .queries = queries,
                                              .out = out,
                                              .plane = PlaneKindOf(plane),
                                              .rotate = rotate}),
                    stream);
       },
       "layer"_a, "entries"_a, "out"_a.none() = nb::none(), nb::kw_only(),
       "queries"_a.none() = nb::none(), "plane"_a = "latent", "rotate"_a = false,
       "stream"_a.none() = nb::none(),
       nb::sig(
           "def gather_top_k(self, layer: int, entries: Tensor, out: Tensor | None = None, *, "
           "queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False, stream: "
           "Stream = None) -> Any"),
       "Reads chosen entries and dequantizes them.\n\n"
       "entries and queries: as translate_top_k. out: bf16 [queries, k, channels], 16-byte "
       "aligned,\n"
       "with any pitches of multiples of 8; a new tensor if None (uint16 for NumPy). Rows without "
       "an\n"
       "entry are zero. rotate: rotate after the load, for planes that store unrotated rows.\n\n"
       "Gives `out`. Raises InvalidArgument. Releases the GIL.")
      .def(
          "bind_gather_top_k",
          [](C& self, int layer, nb::handle entries, nb::handle out, nb::handle queries,
             nb::handle plane, bool rotate) {
            return Bind(self, MakeGather(self.store(), {.chosen = Chosen::kTopK,
                                                        .layer = layer,
                                                        .entries = entries,
                                                        .queries = queries,
                                                        .out = out,
                                                        .plane = PlaneKindOf(plane),
                                                        .rotate = rotate}));
          },
          "layer"_a, "entries"_a, "out"_a, nb::kw_only(), "queries"_a.none() = nb::none(),
          "plane"_a = "latent", "rotate"_a = false,
          nb::sig(
              "def bind_gather_top_k(self, layer: int, entries: Tensor, out: Tensor, *, queries: "
              "Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> BoundCall"),
          "The same, checked once and called many times.")
      .def(
          "gather_visible",
          [](C& self, int layer, nb::handle max_entries, nb::handle out, nb::handle queries,
             nb::handle plane, bool rotate, nb::handle stream) {
            return Run(self.store(),
                       MakeGather(self.store(), {.chosen = Chosen::kVisible,
                                                 .layer = layer,
                                                 .max_entries = max_entries,
                                                 .queries = queries,
                                                 .out = out,
                                                 .plane = PlaneKindOf(plane),
                                                 .rotate = rotate}),
                       stream);
          },
          "layer"_a, "max_entries"_a.none() = nb::none(), "out"_a.none() = nb::none(),
          nb::kw_only(), "queries"_a.none() = nb::none(), "plane"_a = "latent", "rotate"_a = false,
          "stream"_a.none() = nb::none(),
          nb::sig(
              "def gather_visible(self, layer: int, max_entries: int | None = None, out: Tensor | "
              "None = None, *, queries: Queries = None, plane: PlaneName = 'latent', rotate: bool "
              "= False, stream: Stream = None) -> Any"),
          "Reads all entries that a query sees, at most `max_entries` (None: as many as `out`\n"
          "holds). Otherwise as gather_top_k.")
      .def(
          "bind_gather_visible",
          [](C& self, int layer, nb::handle max_entries, nb::handle out, nb::handle queries,
             nb::handle plane, bool rotate) {
            return Bind(self, MakeGather(self.store(), {.chosen = Chosen::kVisible,
                                                        .layer = layer,
                                                        .max_entries = max_entries,
                                                        .queries = queries,
                                                        .out = out,
                                                        .plane = PlaneKindOf(plane),
                                                        .rotate = rotate}));
          },
          "layer"_a, "max_entries"_a.none(), "out"_a, nb::kw_only(),
          "queries"_a.none() = nb::none(), "plane"_a = "latent", "rotate"_a = false,
          nb::sig(
              "def bind_gather_visible(self, layer: int, max_entries: int | None, out: Tensor, *, "
              "queries: Queries = None, plane: PlaneName = 'latent', rotate: bool = False) -> "
              "BoundCall"),
          "The same, checked once and called many times.")
      .def(
          "gather_window",
          [](C& self, int layer, nb::handle out, nb::handle queries, bool rotate,
             nb::handle stream) {
            return Run(
                self.store(),
                MakeGather(self.store(),
                           {.layer = layer, .queries = queries, .out = out, .rotate = rotate}),
                stream);
          },
          "layer"_a, "out"_a.none() = nb::none(), nb::kw_only(), "queries"_a.none() = nb::none(),
          "rotate"_a = false, "stream"_a.none() = nb::none(),
          nb::sig(
              "def gather_window(self, layer: int, out: Tensor | None = None, *, queries: Queries "
              "= None, rotate: bool = False, stream: Stream = None) -> Any"),
          "Reads a query's window, the oldest row first: out is bf16 [queries, window_tokens,\n"
          "channels]. Otherwise as gather_top_k.")
      .def(
          "bind_gather_window",
          [](C& self, int layer, nb::handle out, nb::handle queries, bool rotate) {
            return Bind(
                self,
                MakeGather(self.store(),
                           {.layer = layer, .queries = queries, .out = out, .rotate = rotate}));
          },
          "layer"_a, "out"_a, nb::kw_only(), "queries"_a.none() = nb::none(), "rotate"_a = false,
          nb::sig(
              "def bind_gather_window(self, layer: int, out: Tensor, *, queries: Queries = None, "
              "rotate: bool = False) -> BoundCall"),
          "The same, checked once and called many times.");
}

template <typename C>
void AddSlotCalls(nb::class_<C>& c) {
  c.def(
       "write_slots",
       [](C& self, int layer, nb::handle rows, nb::handle slots, nb::handle positions,
          nb::handle pool, nb::handle plane, bool rotated, nb::handle stream) {
         Run(self.store(),
             MakeWriteSlots(self.store(), {.layer = layer,
                                           .pool = pool,
                                           .plane = plane,
                                           .rows = rows,
                                           .slots = slots,
                                           .positions = positions,
                                           .rotated = rotated}),
             stream);
       },
       "layer"_a, "rows"_a, "slots"_a, "positions"_a.none() = nb::none(), nb::kw_only(),
       "pool"_a = "full", "plane"_a = "latent", "rotated"_a = false, "stream"_a.none() = nb::none(),
       nb::sig(
           "def write_slots(self, layer: int, rows: Tensor, slots: Tensor, positions: Tensor | "
           "None = None, *, pool: PoolName = 'full', plane: PlaneName = 'latent', rotated: bool = "
           "False, stream: Stream = None) -> None"),
       "Stores rows by raw slot, outside any plan.\n\n"
       "rows: bf16 [n, channels]; slots: int32 [n], block * entries_per_block + offset, -1 stores\n"
       "nothing; positions: int32 [n], needed where rows rotate. Slots past the end are skipped "
       "and\n"
       "counted. Raises InvalidArgument. Releases the GIL.")
      .def(
          "read_slots",
          [](C& self, int layer, nb::handle slots, nb::handle out, nb::handle positions,
             nb::handle pool, nb::handle plane, bool rotate, nb::handle stream) {
            return Run(self.store(),
                       MakeReadSlots(self.store(), {.layer = layer,
                                                    .pool = pool,
                                                    .plane = plane,
                                                    .rows = out,
                                                    .slots = slots,
                                                    .positions = positions,
                                                    .rotate = rotate}),
                       stream);
          },
          "layer"_a, "slots"_a, "out"_a.none() = nb::none(), "positions"_a.none() = nb::none(),
          nb::kw_only(), "pool"_a = "full", "plane"_a = "latent", "rotate"_a = false,
          "stream"_a.none() = nb::none(),
          nb::sig("def read_slots(self, layer: int, slots: Tensor, out: Tensor | None = None, "
                  "positions: Tensor | None = None, *, pool: PoolName = 'full', plane: PlaneName = "
                  "'latent', rotate: bool = False, stream: Stream = None) -> Any"),
          "Reads rows by raw slot: out is bf16 [n, channels], zeros for slot -1. Gives `out`.\n\n"
          "Raises InvalidArgument. Releases the GIL.");
}

// All of a store's calls.
template <typename C>
void AddStoreCalls(nb::class_<C>& c) {
  AddStepCalls(c);
  AddWriteCalls(c);
  AddTranslateCalls(c);
  AddGatherCalls(c);
  AddSlotCalls(c);
}

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_STORE_READ_CALLS_H_
