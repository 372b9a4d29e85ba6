// EvictionOrder lines up ids for eviction: the lowest priority first, within a priority those that
// are dispensable, and then the one that was put in first. It has one list for each of these ranks,
// linked through an array by id, so that an id leaves from anywhere.
//
// Each id carries a stamp, the last plan that may name its blocks. What waits first has the lowest
// stamp of its rank, so counting what an eviction would free at once stops at the first that it
// would not.
//
// Thread-safe: no, but const calls may run together.
// Cost: O(1) a call but CountRetired; all memory is taken at construction, and touched only as far
// as ids were used.
//
// Invariants:
//  (1) an id is linked iff it is in one list;
//  (2) an id in a list has the list's rank;
//  (3) stamps do not fall along a list.

#ifndef TERRACE_SRC_LEDGER_EVICTION_ORDER_H_
#define TERRACE_SRC_LEDGER_EVICTION_ORDER_H_

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <optional>
#include <vector>

#include "terrace/prefix.h"

namespace terrace::internal {

class EvictionOrder {
 public:
  // For ids 0 .. capacity - 1.
  explicit EvictionOrder(int32_t capacity) { entries_.reserve(capacity); }
  EvictionOrder(EvictionOrder&&) = default;

  // REQUIRES: !Contains(id); no stamp put in before was higher.
  void PushBack(int32_t id, Priority priority, uint64_t stamp, bool dispensable = false);
  // REQUIRES: Contains(id).
  void Erase(int32_t id);

  int32_t size() const { return size_; }
  bool Contains(int32_t id) const {
    return id < static_cast<int32_t>(entries_.size()) && entries_[id].is_linked();
  }
  uint64_t stamp(int32_t id) const { return entries_[id].stamp; }  // REQUIRES: Contains(id)
  Priority priority(int32_t id) const { return Priority(entries_[id].rank / 2); }  // the same

  // The one to go next.
  std::optional<int32_t> Front() const { return FrontFrom(0); }
  // The one to go after `id`.   REQUIRES: Contains(id).
  std::optional<int32_t> Next(int32_t id) const;
  // How many of the next `most` have a stamp of at most `retired`.   Cost: O(result).
  int32_t CountRetired(int32_t most, uint64_t retired) const;

  // All ids in order, next to go first.
  std::vector<int32_t> Ids() const;
  // CHECKs the invariants above.   Cost: O(capacity).
  void CheckInvariants() const;

 private:
  // Safe links: an unlinked entry knows so, and debug builds assert it at each link.
  struct Entry
      : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::safe_link>> {
    uint64_t stamp = 0;
    int rank = 0;
  };
  using List = boost::intrusive::list<Entry>;

  int32_t IdOf(const Entry& entry) const { return static_cast<int32_t>(&entry - entries_.data()); }
  // Two for each priority, the dispensable first.
  static int RankOf(Priority priority, bool dispensable) {
    return 2 * static_cast<int>(priority) + (dispensable ? 0 : 1);
  }
  static constexpr int kNumRanks = 2 * kNumPriorities;
  std::optional<int32_t> FrontFrom(int rank) const;

  // By id. It grows with the highest that was put in, in place, so that links stay valid.
  std::vector<Entry> entries_;
  List lists_[kNumRanks];
  int32_t size_ = 0;
  uint64_t last_stamp_ = 0;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_EVICTION_ORDER_H_
