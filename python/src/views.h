// Views of a store's memory as tensors: DLPack and the buffer protocol show them, nothing is
// copied, and each keeps the store alive.

#ifndef TERRACE_PYTHON_SRC_VIEWS_H_
#define TERRACE_PYTHON_SRC_VIEWS_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <initializer_list>

#include "python/src/tensors.h"

namespace terrace::python {

// A view of `data`, kept by `owner`. Strides count elements.
// REQUIRES: as many strides as sizes, at most kMaxDimensions.
template <typename T>
nb::object ViewOf(void* data, std::initializer_list<int64_t> shape,
                  std::initializer_list<int64_t> strides, nb::handle owner, const Place& place) {
  size_t sizes[kMaxDimensions] = {};
  size_t ndim = 0;
  for (const int64_t size : shape) sizes[ndim++] = data == nullptr ? 0 : static_cast<size_t>(size);
  const nb::ndarray<nb::array_api, T> array(
      data, ndim, sizes, owner, strides.begin(), nb::dtype<T>(),
      place.cuda ? nb::device::cuda::value : nb::device::cpu::value, place.device);
  return nb::cast(array, nb::rv_policy::reference);
}

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_VIEWS_H_
