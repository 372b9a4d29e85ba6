#include "tools/terrace/engine/occupancy.h"

#include <algorithm>

namespace terrace::tools {
namespace {

void RaiseTo(PoolCounts& counts, const PoolCounts& other) {
  for (size_t pool = 0; pool < counts.size(); ++pool) {
    counts[pool] = std::max(counts[pool], other[pool]);
  }
}

}  // namespace

void OccupancySeries::Add(double seconds, const PoolCounts& live, const PoolCounts& held) {
  RaiseTo(peak_, live);
  RaiseTo(peak_held_, held);
  if (!points_.empty() && steps_in_last_ < steps_a_point_) {
    RaiseTo(points_.back().live, live);
    RaiseTo(points_.back().held, held);
    ++steps_in_last_;
    return;
  }
  if (static_cast<int32_t>(points_.size()) == max_points_) {
    for (int32_t i = 0; i < max_points_ / 2; ++i) {
      points_[i] = points_[2 * i];
      RaiseTo(points_[i].live, points_[2 * i + 1].live);
      RaiseTo(points_[i].held, points_[2 * i + 1].held);
    }
    points_.resize(max_points_ / 2);
    steps_a_point_ *= 2;
  }
  points_.push_back({seconds, live, held});
  steps_in_last_ = 1;
}

}  // namespace terrace::tools
