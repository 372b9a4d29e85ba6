// NpyArray is an array of a .npy file, the array files of NumPy. Formats 1.0 and 2.0, C order,
// little-endian uint8, uint16, int32, int64 and float32 are read and written.
// Source: numpy.lib.format.   Thread-safe: yes, nothing is shared.

#ifndef TERRACE_TOOLS_TERRACE_NPY_H_
#define TERRACE_TOOLS_TERRACE_NPY_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/base/check.h"

namespace terrace::tools {

enum class NpyType { kUint8, kUint16, kInt32, kInt64, kFloat32 };

template <typename T>
constexpr NpyType NpyTypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return NpyType::kUint8;
  if constexpr (std::is_same_v<T, uint16_t>) return NpyType::kUint16;
  if constexpr (std::is_same_v<T, int32_t>) return NpyType::kInt32;
  if constexpr (std::is_same_v<T, int64_t>) return NpyType::kInt64;
  if constexpr (std::is_same_v<T, float>) return NpyType::kFloat32;
}

struct NpyArray {
  NpyType type = NpyType::kUint8;
  std::vector<int64_t> shape;  // empty: one number
  std::vector<uint8_t> bytes;  // the elements, C order, little-endian

  // The elements. REQUIRES: T is the type of the array (checked).
  template <typename T>
  const T* data() const {
    TERRACE_CHECK_EQ(type, NpyTypeOf<T>());
    return reinterpret_cast<const T*>(bytes.data());
  }
};

template <typename T>
NpyArray MakeNpyArray(std::vector<int64_t> shape, absl::Span<const T> values) {
  NpyArray array = {NpyTypeOf<T>(), std::move(shape),
                    std::vector<uint8_t>(values.size() * sizeof(T))};
  if (!values.empty()) std::memcpy(array.bytes.data(), values.data(), array.bytes.size());
  return array;
}

// "(128, 512)" and "float32", for messages.
std::string NpyShapeText(const NpyArray& array);
const char* NpyTypeText(NpyType type);

// The array in a file's content.
// Errors: InvalidArgument that says what is malformed or not supported; the sizes of header, shape
// and content must agree exactly.
absl::StatusOr<NpyArray> ParseNpy(absl::Span<const uint8_t> file);

// What comes before the elements in a file (format 1.0).
std::string FormatNpyHeader(const NpyArray& array);

// Whole files. Errors: as ParseNpy, also NotFound or Unavailable; every message names the path.
absl::StatusOr<NpyArray> ReadNpy(const std::string& path);
absl::Status WriteNpy(const std::string& path, const NpyArray& array);

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_NPY_H_
