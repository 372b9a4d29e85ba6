#include "src/ledger/eviction_order.h"

#include <algorithm>

#include "src/base/check.h"

namespace terrace::internal {

void EvictionOrder::PushBack(int32_t id, Priority priority, uint64_t stamp) {
  TERRACE_CHECK_GE(stamp, last_stamp_);
  last_stamp_ = stamp;
  if (id >= static_cast<int32_t>(links_.size())) links_.resize(id + 1);
  Link& link = links_[id];
  TERRACE_CHECK_EQ(link.listed, false);
  List& list = lists_[static_cast<int>(priority)];
  link = {stamp, list.back, kNone, priority, true};
  (list.back == kNone ? list.front : links_[list.back].next) = id;
  list.back = id;
  ++list.size;
  ++size_;
}

void EvictionOrder::Erase(int32_t id) {
  TERRACE_CHECK_EQ(Contains(id), true);
  Link& link = links_[id];
  List& list = lists_[static_cast<int>(link.priority)];
  (link.previous == kNone ? list.front : links_[link.previous].next) = link.next;
  (link.next == kNone ? list.back : links_[link.next].previous) = link.previous;
  link.listed = false;
  --list.size;
  --size_;
}

std::optional<int32_t> EvictionOrder::Front() const { return FrontFrom(0); }

std::optional<int32_t> EvictionOrder::Next(int32_t id) const {
  const Link& link = links_[id];
  if (link.next != kNone) return link.next;
  return FrontFrom(static_cast<int>(link.priority) + 1);
}

std::optional<int32_t> EvictionOrder::FrontFrom(int priority) const {
  for (; priority < kNumPriorities; ++priority) {
    if (lists_[priority].size > 0) return lists_[priority].front;
  }
  return std::nullopt;
}

int32_t EvictionOrder::CountRetired(int32_t most, uint64_t retired) const {
  int32_t count = 0;
  for (const List& list : lists_) {
    // The rest of a list counts among `most` too, though none of it is retired.
    const int32_t here = std::min(most, list.size);
    int32_t id = list.front;
    for (int32_t i = 0; i < here && links_[id].stamp <= retired; ++i, id = links_[id].next) ++count;
    most -= here;
  }
  return count;
}

std::vector<int32_t> EvictionOrder::Ids() const {
  std::vector<int32_t> ids;
  for (const List& list : lists_) {
    for (int32_t id = list.front; id != kNone; id = links_[id].next) ids.push_back(id);
  }
  return ids;
}

void EvictionOrder::CheckInvariants() const {
  int32_t total = 0;
  for (const List& list : lists_) {
    int32_t previous = kNone;
    uint64_t stamp = 0;
    int32_t size = 0;
    for (int32_t id = list.front; id != kNone; id = links_[id].next) {
      const Link& link = links_[id];
      TERRACE_CHECK_EQ(link.listed, true);
      TERRACE_CHECK_EQ(link.previous, previous);                          // (1)
      TERRACE_CHECK_LE(++size, list.size);                                // (1)
      TERRACE_CHECK_EQ(link.priority, static_cast<int>(&list - lists_));  // (2)
      TERRACE_CHECK_LE(stamp, link.stamp);                                // (3)
      previous = id;
      stamp = link.stamp;
    }
    TERRACE_CHECK_EQ(list.back, previous);  // (1)
    TERRACE_CHECK_EQ(list.size, size);      // (1)
    total += size;
  }
  TERRACE_CHECK_EQ(total, size_);
}

}  // namespace terrace::internal
