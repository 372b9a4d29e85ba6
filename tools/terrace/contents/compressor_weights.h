// CompressorWeights holds the learned parameters of a model's compressors, made up from a seed: ape
// and the norm's weight of every plane whose entries the store compresses.
//
// Thread-safe: yes, it does not change.

#ifndef TERRACE_TOOLS_TERRACE_CONTENTS_COMPRESSOR_WEIGHTS_H_
#define TERRACE_TOOLS_TERRACE_CONTENTS_COMPRESSOR_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "terrace/model.h"
#include "tools/terrace/contents/contents.h"

namespace terrace::tools {

inline constexpr float kCompressorEps = 1e-6f;

class CompressorWeights {
 public:
  struct Plane {
    int32_t ratio = 0;
    int32_t channels = 0;     // of an entry
    int32_t columns = 0;      // of a raw row: kv, and as many of score
    bool hadamard = false;    // the entry is transformed before it is stored
    std::vector<float> ape;   // [ratio, columns], in -2 .. 2
    std::vector<float> norm;  // [channels], in 0.5 .. 1.5, so that entries are of unit size
  };

  // Of no plane.
  CompressorWeights() = default;
  // Of `layers` that have a state pool.
  CompressorWeights(const ModelSpec& model, LayerRange layers, uint64_t seed);

  bool empty() const { return planes_.empty(); }
  // Null where entries are not compressed but written.
  const Plane* Of(ContentPlane plane) const;

 private:
  using Key = std::tuple<int32_t, int32_t, int32_t>;
  static Key KeyOf(ContentPlane plane) { return {plane.pool, plane.layer_index, plane.plane}; }

  std::map<Key, Plane> planes_;
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_CONTENTS_COMPRESSOR_WEIGHTS_H_
