#include "src/ledger/eviction_order.h"

#include <algorithm>

#include "src/base/check.h"

namespace terrace::internal {

void EvictionOrder::PushBack(int32_t id, Priority priority, uint64_t stamp, bool dispensable) {
  TERRACE_CHECK_GE(stamp, last_stamp_);
  last_stamp_ = stamp;
  if (id >= static_cast<int32_t>(entries_.size())) {
    TERRACE_CHECK_LT(id, entries_.capacity());
    entries_.resize(id + 1);
  }
  Entry& entry = entries_[id];
  TERRACE_CHECK_EQ(entry.is_linked(), false);
  entry.stamp = stamp;
  entry.rank = RankOf(priority, dispensable);
  lists_[entry.rank].push_back(entry);
  ++size_;
}

void EvictionOrder::Erase(int32_t id) {
  TERRACE_CHECK_EQ(Contains(id), true);
  Entry& entry = entries_[id];
  lists_[entry.rank].erase(List::s_iterator_to(entry));
  --size_;
}

std::optional<int32_t> EvictionOrder::Next(int32_t id) const {
  const Entry& entry = entries_[id];
  const List::const_iterator next = std::next(List::s_iterator_to(entry));
  return next != lists_[entry.rank].end() ? IdOf(*next) : FrontFrom(entry.rank + 1);
}

std::optional<int32_t> EvictionOrder::FrontFrom(int rank) const {
  for (; rank < kNumRanks; ++rank) {
    if (!lists_[rank].empty()) return IdOf(lists_[rank].front());
  }
  return std::nullopt;
}

int32_t EvictionOrder::CountRetired(int32_t most, uint64_t retired) const {
  int32_t count = 0;
  for (const List& list : lists_) {
    // The rest of a list counts among `most` too, though none of it is retired.
    const int32_t here = std::min(most, static_cast<int32_t>(list.size()));
    auto entry = list.begin();
    for (int32_t i = 0; i < here && entry->stamp <= retired; ++i, ++entry) ++count;
    most -= here;
  }
  return count;
}

std::vector<int32_t> EvictionOrder::Ids() const {
  std::vector<int32_t> ids;
  for (const List& list : lists_) {
    for (const Entry& entry : list) ids.push_back(IdOf(entry));
  }
  return ids;
}

void EvictionOrder::CheckInvariants() const {
  int32_t listed = 0;
  for (const List& list : lists_) {
    uint64_t stamp = 0;
    for (const Entry& entry : list) {
      ++listed;
      TERRACE_CHECK_LT(IdOf(entry), entries_.size());  // (1)
      TERRACE_CHECK_EQ(entry.rank, &list - lists_);    // (2)
      TERRACE_CHECK_LE(stamp, entry.stamp);            // (3)
      stamp = entry.stamp;
    }
  }
  TERRACE_CHECK_EQ(listed, size_);
  TERRACE_CHECK_EQ(std::count_if(entries_.begin(), entries_.end(),
                                 [](const Entry& entry) { return entry.is_linked(); }),
                   listed);  // (1)
}

}  // namespace terrace::internal
