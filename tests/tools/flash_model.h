// DeepSeek-V4-Flash and its pools by name, for tests.

#ifndef TERRACE_TESTS_TOOLS_FLASH_MODEL_H_
#define TERRACE_TESTS_TOOLS_FLASH_MODEL_H_

#include <algorithm>

#include "terrace/model.h"

namespace terrace::testing {

inline const ModelSpec& Flash() {
  static const ModelSpec model = DeepSeekV4Flash();
  return model;
}
inline const PoolSpec& Pool(const char* name) {
  return *std::find_if(Flash().pools.begin(), Flash().pools.end(),
                       [&](const PoolSpec& pool) { return pool.name == name; });
}

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_TOOLS_FLASH_MODEL_H_
