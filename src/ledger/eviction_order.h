// EvictionOrder lines up ids for eviction: the lowest priority first, and within a priority the one
// that was put in first. A doubly linked list for each priority, its links in an array by id, so
// that an id leaves from anywhere.
//
// Each id carries a stamp, the last plan that may name its blocks. What waits first has the lowest
// stamp of its priority, so counting what an eviction would free at once stops at the first that it
// would not.
//
// Thread-safe: no.   Cost: O(1) a call but CountRetired; all memory is taken at construction, and
// touched only as far as ids were used.
//
// Invariants:
//  (1) links go both ways, and every list is as long as its size says;
//  (2) an id in a list has the list's priority;
//  (3) stamps do not fall along a list.

#ifndef TERRACE_SRC_LEDGER_EVICTION_ORDER_H_
#define TERRACE_SRC_LEDGER_EVICTION_ORDER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "terrace/prefix.h"

namespace terrace::internal {

class EvictionOrder {
 public:
  // For ids 0 .. capacity - 1.
  explicit EvictionOrder(int32_t capacity) { links_.reserve(capacity); }

  // REQUIRES: !Contains(id); no stamp put in before was higher.
  void PushBack(int32_t id, Priority priority, uint64_t stamp);
  // REQUIRES: Contains(id).
  void Erase(int32_t id);

  int32_t size() const { return size_; }
  bool Contains(int32_t id) const {
    return id < static_cast<int32_t>(links_.size()) && links_[id].listed;
  }
  uint64_t stamp(int32_t id) const { return links_[id].stamp; }        // REQUIRES: Contains(id)
  Priority priority(int32_t id) const { return links_[id].priority; }  // REQUIRES: Contains(id)

  // The one to go next.
  std::optional<int32_t> Front() const;
  // The one to go after `id`.   REQUIRES: Contains(id).
  std::optional<int32_t> Next(int32_t id) const;
  // How many of the next `most` have a stamp of at most `retired`.   Cost: O(result).
  int32_t CountRetired(int32_t most, uint64_t retired) const;

  // All ids in order, next to go first.
  std::vector<int32_t> Ids() const;
  // CHECKs the invariants above.   Cost: O(size).
  void CheckInvariants() const;

 private:
  static constexpr int32_t kNone = -1;
  struct Link {
    uint64_t stamp = 0;
    int32_t previous = kNone;
    int32_t next = kNone;
    Priority priority = Priority::kLow;
    bool listed = false;
  };
  struct List {
    int32_t front = kNone;
    int32_t back = kNone;
    int32_t size = 0;
  };

  std::optional<int32_t> FrontFrom(int priority) const;

  std::vector<Link> links_;  // by id; grows with the highest that was put in
  List lists_[kNumPriorities];
  int32_t size_ = 0;
  uint64_t last_stamp_ = 0;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_EVICTION_ORDER_H_
