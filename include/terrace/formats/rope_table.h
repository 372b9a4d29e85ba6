// A borrowed rope table: float32 [positions, 64], 32 cosines then 32 sines a position. The caller's
// memory, valid as long as the caller says; how its values are made is rope.h's matter.

#ifndef TERRACE_FORMATS_ROPE_TABLE_H_
#define TERRACE_FORMATS_ROPE_TABLE_H_

#include <cstdint>
#include <type_traits>

namespace terrace {

struct RopeTableView {
  const float* data = nullptr;  // null: rows are taken as they are
  int32_t positions = 0;
};
static_assert(std::is_trivially_copyable_v<RopeTableView>);

}  // namespace terrace

#endif  // TERRACE_FORMATS_ROPE_TABLE_H_
