#include "tools/terrace/contents/fill_raw.h"

#include "src/base/multiversion.h"
#include "tools/terrace/contents/raw_contents.h"

namespace terrace::tools {

TERRACE_MULTIVERSION void FillRaw(const RawSegment& segment, int64_t begin, int64_t end) {
  for (int64_t token = begin; token < end; ++token) {
    const uint64_t key = KeyOfToken(segment, static_cast<int32_t>(token));
    for (int p = 0; p < segment.num_planes; ++p) {
      const RawPlane& plane = segment.planes[p];
      const int32_t columns = plane.columns;
      const uint64_t seed = ContentSeed(key, segment.positions[token], plane.plane);
      float* const kv = plane.kv + token * columns;
      float* const score = plane.score + token * columns;
      for (int32_t c = 0; c < columns; ++c) kv[c] = RawKv(seed, c);
      for (int32_t c = 0; c < columns; ++c) score[c] = RawScore(seed, c);
    }
  }
}

}  // namespace terrace::tools
