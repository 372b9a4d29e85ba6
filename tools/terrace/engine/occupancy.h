// OccupancySeries holds how many blocks of every pool were live, and live or cached, over simulated
// time, in a bounded number of points, however long a run takes.

#ifndef TERRACE_TOOLS_TERRACE_ENGINE_OCCUPANCY_H_
#define TERRACE_TOOLS_TERRACE_ENGINE_OCCUPANCY_H_

#include <array>
#include <cstdint>
#include <vector>

#include "terrace/pool_kinds.h"

namespace terrace::tools {

using PoolCounts = std::array<int32_t, kMaxPools>;

// Each point is the highest of its span of steps. When all points are taken, neighbours are merged
// and the spans double, so a peak is never lost.
class OccupancySeries {
 public:
  struct Point {
    double seconds = 0;  // where the span begins
    PoolCounts live = {};
    PoolCounts held = {};  // live or cached, at one time
  };

  // REQUIRES: max_points is even and positive.
  explicit OccupancySeries(int32_t max_points = 2048) : max_points_(max_points) {
    points_.reserve(max_points);
  }

  // REQUIRES: seconds never goes back.   Cost: O(pools), amortized.
  void Add(double seconds, const PoolCounts& live, const PoolCounts& held);

  const std::vector<Point>& points() const { return points_; }
  const PoolCounts& peak() const { return peak_; }  // live
  const PoolCounts& peak_held() const { return peak_held_; }

 private:
  int32_t max_points_;
  int64_t steps_a_point_ = 1;
  int64_t steps_in_last_ = 0;
  std::vector<Point> points_;
  PoolCounts peak_ = {};
  PoolCounts peak_held_ = {};
};

}  // namespace terrace::tools

#endif  // TERRACE_TOOLS_TERRACE_ENGINE_OCCUPANCY_H_
