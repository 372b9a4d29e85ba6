// StoreCore is a store with what Python needs beside it: who owns it, who is inside, where its
// memory lies and how wide its rows are. A Store has one of its own, a Cache that of its store.

#ifndef TERRACE_PYTHON_SRC_STORE_CORE_H_
#define TERRACE_PYTHON_SRC_STORE_CORE_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "python/src/entry_lock.h"
#include "python/src/errors.h"
#include "python/src/tensors.h"
#include "terrace/cache.h"
#include "terrace/store.h"

namespace terrace::python {

namespace nb = nanobind;

struct StoreCore {
  std::shared_ptr<MemoryResource> memory;  // outlives the store; null: the system's
  std::shared_ptr<void> owner;             // of the store
  Store* store = nullptr;
  Cache* cache = nullptr;  // of the store, if there is one
  ModelSpec model;
  Place place;
  EntryLock lock{"the store"};
  int32_t padded_rows = 0;            // of the current step: what a call asks for by default
  std::vector<TensorIn> rope_tables;  // the caller's, where it gave some

  // Calls what both have: the cache, which sees to the order of steps, or else the store.
  template <typename Call>
  absl::Status On(const Call& call) const {
    return cache != nullptr ? call(*cache) : call(*store);
  }

  // Channels of a row of the layer's plane, and the index of its pool; 0 and -1 where it has none:
  // the store's own call says what is wrong then.
  int32_t Channels(int layer, PoolKind kind, PlaneKind plane) const;
  int PoolOf(int layer, PoolKind kind) const;
  // Tokens per entry of the layer's full pool; 0 without one.
  int32_t Ratio(int layer) const;
};

// A Store in Python.
struct PyStore {
  std::shared_ptr<StoreCore> core;
  StoreCore& store() { return *core; }
  const std::shared_ptr<StoreCore>& shared_store() { return core; }
};

// BackendOptions as Python gives them, and where such a backend's memory lies.
struct BackendArguments {
  nb::handle kind;
  int32_t device = 0;
  int32_t host_threads = 0;
  nb::handle memory;  // None: the system's
  bool nvtx = false;

  // Keeps the memory resource in `core`.
  BackendOptions Options(StoreCore& core) const;
};
Place PlaceOf(const Backend& backend, int32_t device);

// The calls that take no tensors, as both Store and Cache have them.
void Begin(StoreCore& core, const Plan& plan, nb::handle stream, int32_t padded_token_rows);
void CopyBlocks(StoreCore& core, nb::handle pool, nb::handle sources, nb::handle destinations,
                nb::handle stream);
void SetGlobalScale(StoreCore& core, int layer, nb::handle pool, float scale);
void SetRopeTables(StoreCore& core, nb::handle tables);
Counters ReadCounters(StoreCore& core);
void Synchronize(StoreCore& core, nb::handle stream);

// A pool's index by its name or number.   Errors: InvalidArgument.
int PoolNumber(const ModelSpec& model, nb::handle pool);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_STORE_CORE_H_
