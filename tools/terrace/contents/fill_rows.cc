#include "tools/terrace/contents/fill_rows.h"

#include "src/base/multiversion.h"

namespace terrace::tools {

TERRACE_MULTIVERSION void FillRows(const FillSegment& segment, int64_t begin, int64_t end) {
  const int32_t channels = segment.channels;
  for (int64_t row = begin; row < end; ++row) {
    if (segment.slots[row] < 0) continue;
    FillContent(SeedOfRow(segment, static_cast<int32_t>(row)), channels,
                segment.rows + row * channels);
  }
}

}  // namespace terrace::tools
