#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "python/src/model_argument.h"
#include "python/src/numbers.h"
#include "python/src/store_read_calls.h"
#include "python/src/views.h"
#include "terrace/counters.h"

namespace terrace::python {
namespace {

// PageView, StepView and PlanHeader as Python has them.
struct PyPages {
  std::shared_ptr<StoreCore> core;
  PageView view;
  int64_t num_pages() const { return int64_t{view.num_blocks} * pages_per_block(); }
  int32_t pages_per_block() const {
    return view.entries_per_page > 0 ? view.entries_per_block / view.entries_per_page : 1;
  }
};
struct PyStepView {
  std::shared_ptr<StoreCore> core;
  StepView view;
};
struct PyStep {
  PlanHeader header;
  int32_t padded_rows;
};

void MakeStore(PyStore* self, nb::handle model, const Geometry& geometry, nb::handle layers,
               nb::handle backend, int32_t device, int32_t host_threads, nb::handle memory,
               nb::handle epoch, bool nvtx) {
  auto core = std::make_shared<StoreCore>();
  core->model = ModelOf(model);
  const BackendOptions options =
      BackendArguments{backend, device, host_threads, memory, nvtx}.Options(*core);
  StoreOptions store_options;
  store_options.model = core->model;
  store_options.geometry = geometry;
  store_options.layers = LayersOf(layers);
  if (!epoch.is_none()) store_options.epoch = WholeNumber<uint64_t>(epoch, "epoch");
  std::shared_ptr<Backend> place;
  std::shared_ptr<Store> store = Take([&]() -> absl::StatusOr<std::unique_ptr<Store>> {
    const nb::gil_scoped_release released;
    absl::StatusOr<std::unique_ptr<Backend>> made = MakeBackend(options);
    if (!made.ok()) return made.status();
    place = *std::move(made);
    return Store::Create(store_options, place);
  }());
  core->place = PlaceOf(*place, device);
  core->store = store.get();
  core->owner = std::move(store);
  new (self) PyStore{std::move(core)};
}

template <typename T>
PyPages& PagesIn(T self) {
  return nb::cast<PyPages&>(self);
}

void BindPages(nb::module_& module) {
  nb::class_<PyPages>(
      module, "Pages",
      "One layer's pages of one plane, for kernels that read in place. Valid as long as it "
      "lives.\n\n"
      "    page of slot s:      page = address + (s // entries_per_page) * page_stride\n"
      "    data row of slot s:  page + (s % entries_per_page) * data_stride\n"
      "    scale row of slot s: page + scale_offset + (s % entries_per_page) * scale_stride\n\n"
      "A block is entries_per_block / entries_per_page pages, mostly one.\n"
      "`bytes`, `data` and `scales` are views: give them to numpy.asarray, torch.from_dlpack,\n"
      "cupy.from_dlpack. They keep the store alive.")
      .def_prop_ro("address",
                   [](const PyPages& p) { return reinterpret_cast<uintptr_t>(p.view.base); })
      .def_prop_ro(
          "block_stride", [](const PyPages& p) { return p.view.block_stride; }, "Bytes.")
      .def_prop_ro(
          "page_stride", [](const PyPages& p) { return p.view.page_stride; },
          "Bytes; block_stride where a block is one page.")
      .def_prop_ro("num_pages", &PyPages::num_pages, "num_blocks, where a block is one page.")
      .def_prop_ro("entries_per_page", [](const PyPages& p) { return p.view.entries_per_page; })
      .def_prop_ro("page_bytes", [](const PyPages& p) { return p.view.page_bytes; })
      .def_prop_ro("num_blocks", [](const PyPages& p) { return p.view.num_blocks; })
      .def_prop_ro("entries_per_block", [](const PyPages& p) { return p.view.entries_per_block; })
      .def_prop_ro(
          "format",
          [](const PyPages& p) {
            return p.view.data_bytes == 0 ? std::string("opaque") : WordOf(p.view.format);
          },
          "The row format's name; 'opaque' in overlap and state pools.")
      .def_prop_ro(
          "data_bytes", [](const PyPages& p) { return p.view.data_bytes; }, "Of a row.")
      .def_prop_ro(
          "scale_bytes", [](const PyPages& p) { return p.view.scale_bytes; }, "Of a row.")
      .def_prop_ro(
          "data_stride", [](const PyPages& p) { return p.view.data_stride; },
          "Bytes between the data rows of neighbouring slots of a page.")
      .def_prop_ro(
          "scale_stride", [](const PyPages& p) { return p.view.scale_stride; },
          "Bytes between the scale rows of neighbouring slots of a page.")
      .def_prop_ro(
          "scale_offset", [](const PyPages& p) { return p.view.scale_offset; },
          "Bytes from a page's start to its first scale row.")
      .def_prop_ro(
          "bytes",
          [](nb::handle self) {
            const PyPages& p = PagesIn(self);
            return ViewOf<uint8_t>(p.view.base, {p.num_pages(), p.view.page_bytes},
                                   {p.view.page_stride, 1}, self, p.core->place);
          },
          nb::sig("def bytes(self) -> DLPackView"), "uint8 [num_pages, page_bytes].")
      .def_prop_ro(
          "data",
          [](nb::handle self) {
            const PyPages& p = PagesIn(self);
            return ViewOf<uint8_t>(
                p.view.base, {p.num_pages(), p.view.entries_per_page, p.view.data_bytes},
                {p.view.page_stride, p.view.data_stride, 1}, self, p.core->place);
          },
          nb::sig("def data(self) -> DLPackView"),
          "uint8 [num_pages, entries_per_page, data_bytes].")
      .def_prop_ro(
          "scales",
          [](nb::handle self) {
            const PyPages& p = PagesIn(self);
            auto* const base = static_cast<uint8_t*>(p.view.base);
            uint8_t* const scales = base == nullptr ? nullptr : base + p.view.scale_offset;
            return ViewOf<uint8_t>(
                scales, {p.num_pages(), p.view.entries_per_page, p.view.scale_bytes},
                {p.view.page_stride, p.view.scale_stride, 1}, self, p.core->place);
          },
          nb::sig("def scales(self) -> DLPackView"),
          "uint8 [num_pages, entries_per_page, scale_bytes].");
}

// A dense int32 view of `columns` columns; one dimension if it is 0.
nb::object IntView(nb::handle self, void* data, int64_t rows, int64_t columns = 0) {
  const Place& place = nb::cast<PyStepView&>(self).core->place;
  if (columns == 0) return ViewOf<int32_t>(data, {rows}, {1}, self, place);
  return ViewOf<int32_t>(data, {rows, columns}, {columns, 1}, self, place);
}

void BindStepView(nb::module_& module) {
  const auto geometry = [](nb::handle self) -> const Geometry& {
    return nb::cast<PyStepView&>(self).core->store->geometry();
  };
  const auto view = [](nb::handle self) -> const StepView& {
    return nb::cast<PyStepView&>(self).view;
  };
  const auto pool_of = [](nb::handle self, nb::handle pool) {
    return PoolNumber(nb::cast<PyStepView&>(self).core->model, pool);
  };
  nb::class_<PyStepView>(
      module, "StepView",
      "Where a store keeps the current step, at addresses that are fixed for its "
      "life.\n\nAll are views in the backend's memory, int32, and keep the store "
      "alive.")
      .def_prop_ro(
          "header_address",
          [view](nb::handle self) { return reinterpret_cast<uintptr_t>(view(self).header); },
          "Of the plan's 128-byte header; its sequence steps follow it.")
      .def_prop_ro(
          "tokens",
          [view, geometry](nb::handle self) {
            return IntView(self, view(self).tokens, geometry(self).max_step_tokens, 4);
          },
          nb::sig("def tokens(self) -> DLPackView"),
          "[max_step_tokens, 4]: sequence_index (-1: no token), position, first, "
          "first_stored.")
      .def_prop_ro(
          "token_record",
          [view, geometry](nb::handle self) {
            return IntView(self, view(self).token_record, geometry(self).max_step_tokens);
          },
          nb::sig("def token_record(self) -> DLPackView"),
          "[max_step_tokens]: index of the row's sequence step.")
      .def_prop_ro(
          "token_position",
          [view, geometry](nb::handle self) {
            return IntView(self, view(self).token_position, geometry(self).max_step_tokens);
          },
          nb::sig("def token_position(self) -> DLPackView"), "[max_step_tokens]")
      .def(
          "block_table",
          [view, geometry, pool_of](nb::handle self, nb::handle pool) {
            const int p = pool_of(self, pool);
            const Geometry& g = geometry(self);
            if (g.pools[p].blocks_per_sequence == 0) RaiseInvalid("that pool has no block table");
            return IntView(self, view(self).block_table[p], g.max_sequences,
                           g.pools[p].blocks_per_sequence);
          },
          "pool"_a, nb::sig("def block_table(self, pool: int | str) -> DLPackView"),
          "[max_sequences, blocks_per_sequence]; -1 is no block.")
      .def(
          "slots",
          [view, geometry, pool_of](nb::handle self, nb::handle pool) {
            const int p = pool_of(self, pool);
            if (view(self).slots[p] == nullptr) RaiseInvalid("that pool has no slots");
            return IntView(self, view(self).slots[p], MaxEntryRows(geometry(self), PoolIndex(p)));
          },
          "pool"_a, nb::sig("def slots(self, pool: int | str) -> DLPackView"),
          "Where the step's rows go: window pools [max_step_tokens], full pools\n"
          "[geometry.max_entry_rows(pool)]; -1 stores nothing.")
      .def(
          "entry_position",
          [view, geometry, pool_of](nb::handle self, nb::handle pool) {
            const int p = pool_of(self, pool);
            if (view(self).entry_position[p] == nullptr) RaiseInvalid("that pool has no entries");
            return IntView(self, view(self).entry_position[p],
                           MaxEntryRows(geometry(self), PoolIndex(p)));
          },
          "pool"_a, nb::sig("def entry_position(self, pool: int | str) -> DLPackView"),
          "Full pools: first token of each entry that closes.");
}

void BindStep(nb::module_& module) {
  nb::class_<PyStep>(module, "Step", "Counts of a store's current step.")
      .def_prop_ro("number", [](const PyStep& s) { return s.header.number; })
      .def_prop_ro("num_sequences", [](const PyStep& s) { return s.header.num_sequences; })
      .def_prop_ro("num_token_rows", [](const PyStep& s) { return s.header.num_token_rows; })
      .def_ro("padded_token_rows", &PyStep::padded_rows, "Rows that calls ask for by default.")
      .def_prop_ro(
          "num_entry_rows",
          [](const PyStep& s) {
            return std::vector<int32_t>(s.header.num_entry_rows,
                                        s.header.num_entry_rows + kMaxPools);
          },
          "Entries that close, a number a pool.");
  nb::class_<StaleState>(module, "StaleState", "A state page that was not where a step begins.")
      .def_ro("plan", &StaleState::plan, "The step's number, modulo 2^32.")
      .def_ro("layer", &StaleState::layer, "Of the model.")
      .def_ro("sequence_index", &StaleState::sequence_index, "Of the step.")
      .def_ro("fed_again", &StaleState::fed_again,
              "The step ran twice, or its graph did; else one before it was not compressed.");
  nb::class_<Counters>(module, "Counters",
                       "What kernels skipped or mended: all zeros is a healthy engine.")
      .def_ro("nonfinite_values", &Counters::nonfinite_values,
              "NaN or infinity in a row that was written.")
      .def_ro("skipped_slots", &Counters::skipped_slots, "Raw slots outside the pool.")
      .def_ro("skipped_entries", &Counters::skipped_entries,
              "Chosen entries that the query does not see.")
      .def_ro("skipped_positions", &Counters::skipped_positions,
              "Rows whose position lies beyond the RoPE table.")
      .def_ro("stale_states", &Counters::stale_states,
              "Sequences of a step, a layer each, whose state was not where the step begins.")
      .def_prop_ro("first_stale_state", &FirstStaleState,
                   nb::sig("def first_stale_state(self) -> StaleState | None"),
                   "Which one, of the earliest step.")
      .def_ro("truncated_queries", &Counters::truncated_queries,
              "Queries that see more entries than the output holds.")
      .def("__repr__", [](const Counters& c) {
        return absl::StrCat(
            "Counters(nonfinite_values=", c.nonfinite_values, ", skipped_slots=", c.skipped_slots,
            ", skipped_entries=", c.skipped_entries, ", skipped_positions=", c.skipped_positions,
            ", truncated_queries=", c.truncated_queries, ")");
      });
}

}  // namespace

nb::object PagesOf(const std::shared_ptr<StoreCore>& core, int layer, nb::handle pool,
                   nb::handle plane) {
  const PoolKind kind = PoolKindOf(pool);
  const PlaneKind which = PlaneKindOf(plane);
  const Shared shared(core->lock);
  return nb::cast(PyPages{core, Take(core->store->Pages(layer, kind, which))});
}

nb::object StepViewOf(const std::shared_ptr<StoreCore>& core) {
  return nb::cast(PyStepView{core, core->store->step_view()});
}

nb::object StepOf(StoreCore& core) {
  const Shared shared(core.lock);
  return nb::cast(PyStep{core.store->step(), core.padded_rows});
}

void BindStore(nb::module_& module) {
  BindPages(module);
  BindStepView(module);
  BindStep(module);
  nb::class_<PyBoundCall>(
      module, "BoundCall",
      "A call of a store whose tensors were checked once: call it in each step.\n\n"
      "It holds references to its tensors and to the store.");
  nb::class_<PyStore> store(
      module, "Store",
      "The pages of a range of layers in one backend's memory.\n\n"
      "begin(plan) once a step, then per layer write or compress, then translate, gather or "
      "pages.\n"
      "All work is ordered on one stream. One thread at a time: a call that meets another thread\n"
      "inside raises RuntimeError and changes nothing.");
  store.def(
      "__init__", &MakeStore, "model"_a, "geometry"_a, nb::kw_only(),
      "layers"_a.none() = nb::none(), "backend"_a = "auto", "device"_a = 0, "host_threads"_a = 0,
      "memory"_a.none() = nb::none(), "epoch"_a.none() = nb::none(), "nvtx"_a = false,
      nb::sig("def __init__(self, model: ModelSpec | str, geometry: Geometry, *, layers: range "
              "| None = None, backend: BackendName = 'auto', device: int = 0, host_threads: "
              "int = 0, memory: MemoryResource | None = None, epoch: int | None = None, nvtx: bool "
              "= False) -> None"),
      "Allocates every pool (zero-filled), the block tables and the step buffers.\n\n"
      "layers: of the model, None for all. backend: 'auto' is cuda where a device is usable.\n"
      "host_threads: 0 is one a core. memory: takes pages, tables and buffers out of your own\n"
      "pool. epoch: of the ledger to follow; None: that of the first plan. nvtx: on cuda, calls "
      "are\n"
      "NVTX ranges in the domain 'terrace', for Nsight Systems.\n\n"
      "Raises InvalidArgument, ResourceExhausted, FailedPrecondition for no usable device.");
  AddStoreCalls(store);
  store.def(
      "metrics", [](PyStore& self) { return self.store().store->metrics(); },
      "All that a monitor asks, in one call, beside any other call.");
  store
      .def(
          "set_rope_tables",
          [](PyStore& self, nb::handle tables) { SetRopeTables(self.store(), tables); }, "tables"_a,
          nb::sig("def set_rope_tables(self, tables: Sequence[Tensor]) -> None"),
          "One table for each of model.ropes: float32 [positions, 64], 32 cosines then 32 "
          "sines.\n\n"
          "The store keeps the tensors. Needed before rows are rotated; formats.rope_table makes\n"
          "them. Raises InvalidArgument.")
      .def_prop_ro("geometry", [](PyStore& self) { return self.store().store->geometry(); })
      .def_prop_ro("model", [](PyStore& self) { return self.store().model; })
      .def_prop_ro(
          "layers",
          [](PyStore& self) {
            const LayerRange layers = self.store().store->layers();
            return nb::steal(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyRange_Type), "ii",
                                                   layers.first, layers.first + layers.count));
          },
          nb::sig("def layers(self) -> range"), "Of the model, that this store holds.");
}

}  // namespace terrace::python
