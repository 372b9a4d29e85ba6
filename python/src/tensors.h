// TensorIn takes a framework's tensor in without a copy: NumPy by the buffer protocol, PyTorch by
// DLPack's table of C functions, CuPy, JAX and others by __dlpack__.

#ifndef TERRACE_PYTHON_SRC_TENSORS_H_
#define TERRACE_PYTHON_SRC_TENSORS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>

#include "python/src/dlpack_api.h"

namespace terrace::python {

namespace nb = nanobind;

// Where a store's memory lies, and a tensor must too.
struct Place {
  bool cuda = false;
  int32_t device = 0;
};

inline constexpr int kMaxDimensions = 4;

// What a tensor is, whoever made it.
struct TensorShape {
  void* data = nullptr;
  int32_t ndim = 0;
  int64_t shape[kMaxDimensions] = {};
  int64_t strides[kMaxDimensions] = {};  // in elements
  dlpack::DataType dtype = {};
  dlpack::Device device = {};

  friend bool operator==(const TensorShape& a, const TensorShape& b);
};

// Holds what keeps the memory where it is for as long as it lives, and the tensor itself, so that
// a bound call can see whether it was resized since.
// Thread-safe: no; the GIL is held whenever it is made, looked at anew or destroyed.
class TensorIn {
 public:
  TensorIn() = default;  // none was given
  // Errors: InvalidArgument that names the argument, for what is no tensor, lies elsewhere, is
  // read-only where it is written, or is shared by a copy only.
  TensorIn(nb::handle value, const char* name, const Place& place, bool written);
  ~TensorIn() { Release(); }
  TensorIn(TensorIn&& other) noexcept;
  TensorIn& operator=(TensorIn&& other) noexcept;

  bool given() const { return source_.is_valid(); }
  const char* name() const { return name_; }
  const TensorShape& shape() const { return shape_; }
  void* data() const { return shape_.data; }
  nb::handle source() const { return source_; }
  // The framework's table of C functions, or null.
  const dlpack::ExchangeApi* api() const { return api_; }

  // Errors: InvalidArgument for other dimensions or types.
  void CheckDimensions(int ndim) const;
  void CheckType(dlpack::DataType type, const char* says) const;
  // bf16, as such or as uint16.
  void CheckBf16() const;
  bool IsBf16() const;
  void CheckDenseRows() const;  // the last dimension has stride 1
  void CheckDense() const;      // all of it is in C order without gaps
  // Elements between two of dimension 0 or 1; `dense` where that dimension has no second one.
  int64_t Pitch(int dimension, int64_t dense) const;

  // Looks at the tensor again.
  // Errors: FailedPrecondition where it was resized or moved.
  void CheckUnchanged() const;

 private:
  enum class Way { kNone, kBuffer, kTable, kCapsule };

  void Look();  // fills shape_ and keeps
  bool LookByBuffer();
  void LookByTable();
  void LookByCapsule();
  void Release();
  std::string Describe() const;

  const char* name_ = "";
  Place place_;
  bool written_ = false;
  Way way_ = Way::kNone;
  nb::object source_;
  nb::object viewed_;  // `source_`, or a view of it as plain integers
  nb::object capsule_;
  const dlpack::ExchangeApi* api_ = nullptr;
  Py_buffer view_ = {};  // kBuffer
  TensorShape shape_;
};

inline constexpr dlpack::DataType kTypeInt32 = {dlpack::kInt, 32, 1};
inline constexpr dlpack::DataType kTypeFloat32 = {dlpack::kFloat, 32, 1};

// The table of a tensor's type, or null. Cached a type.
const dlpack::ExchangeApi* ExchangeApiOf(nb::handle tensor);

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_TENSORS_H_
