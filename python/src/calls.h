// StoreCall is a call of a store with its tensors checked, made once and run at once or many times.
// What depends on the step (how many rows it has) is checked in each run.

#ifndef TERRACE_PYTHON_SRC_CALLS_H_
#define TERRACE_PYTHON_SRC_CALLS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "python/src/store_core.h"
#include "python/src/tensors.h"

namespace terrace::python {

class StoreCall {
 public:
  virtual ~StoreCall() = default;

  // Enqueues the call. Needs no GIL.
  // Errors: InvalidArgument for tensors that are too small for the step; those of the store.
  virtual absl::Status Run(StoreCore& core, Stream stream) const = 0;

  // Errors: FailedPrecondition for a tensor that was resized or moved since.
  void CheckTensors() const;
  // One that says which framework's current stream is meant; null without tensors.
  const TensorIn* FirstTensor() const;
  // What the call fills, for the caller to have; None where it fills nothing.
  nb::object out = nb::none();

 protected:
  const TensorIn& Add(TensorIn tensor);

  std::vector<TensorIn> tensors_;
};

struct WriteArguments {
  int layer = 0;
  nb::handle swa = Py_None;
  nb::handle entries = Py_None;
  nb::handle indexer = Py_None;
  bool rotated = false;
  bool graph = false;  // launch for as many rows as the tensors have
};
std::unique_ptr<StoreCall> MakeWrite(StoreCore& core, const WriteArguments& arguments);

struct CompressArguments {
  int layer = 0;
  nb::handle latent[4];   // kv, score, ape, norm_weight
  nb::handle indexer[4];  // the same; None without an indexer plane
  float eps = 1e-6f;
  bool hadamard = true;
  bool graph = false;
};
std::unique_ptr<StoreCall> MakeCompress(StoreCore& core, const CompressArguments& arguments);

// Which rows a query reads.
enum class Chosen { kTopK, kVisible, kWindow };

struct ReadArguments {
  Chosen chosen = Chosen::kWindow;
  int layer = 0;
  nb::handle entries = Py_None;      // kTopK: int32 [queries, k]
  nb::handle max_entries = Py_None;  // kVisible: an int, or None: as many as `out` holds
  nb::handle queries = Py_None;      // None, an int, or int32 [queries]
  nb::handle out = Py_None;          // None: a new NumPy array or PyTorch tensor
  nb::handle lengths = Py_None;      // Translate: int32 [queries] or None
  PlaneKind plane = PlaneKind::kLatent;
  bool rotate = false;
};
std::unique_ptr<StoreCall> MakeTranslate(StoreCore& core, const ReadArguments& arguments);
std::unique_ptr<StoreCall> MakeGather(StoreCore& core, const ReadArguments& arguments);

struct SlotsArguments {
  int layer = 0;
  nb::handle pool = Py_None;
  nb::handle plane = Py_None;
  nb::handle rows = Py_None;  // in for WriteSlots; out, or None, for ReadSlots
  nb::handle slots = Py_None;
  nb::handle positions = Py_None;
  bool rotate = false;   // ReadSlots
  bool rotated = false;  // WriteSlots
};
std::unique_ptr<StoreCall> MakeWriteSlots(StoreCore& core, const SlotsArguments& arguments);
std::unique_ptr<StoreCall> MakeReadSlots(StoreCore& core, const SlotsArguments& arguments);

// Runs a call on the stream that Python named.
void RunCall(StoreCore& core, const StoreCall& call, nb::handle stream);

// A call that is bound, in Python.
struct PyBoundCall {
  std::shared_ptr<StoreCore> core;
  std::unique_ptr<StoreCall> call;
};

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_CALLS_H_
