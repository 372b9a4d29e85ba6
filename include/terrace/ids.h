// Strong types for ids: explicit to construct, comparable, with no way back but value().

#ifndef TERRACE_IDS_H_
#define TERRACE_IDS_H_

#include <compare>
#include <cstdint>
#include <utility>

namespace terrace {

template <typename Tag, typename Rep>
class StrongId {
 public:
  using rep = Rep;

  constexpr StrongId() = default;
  constexpr explicit StrongId(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  friend constexpr bool operator==(StrongId, StrongId) = default;
  friend constexpr auto operator<=>(StrongId, StrongId) = default;

  template <typename H>
  friend H AbslHashValue(H h, StrongId id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  Rep value_ = Rep{};
};

// A block of one pool: 0 .. capacity - 1. The pool is known from the context.
using BlockId = StrongId<struct BlockIdTag, int32_t>;

// A pool of a model: 0 .. num_pools - 1, its place in ModelSpec::pools and Geometry::pools.
using PoolIndex = StrongId<struct PoolIndexTag, int32_t>;
inline constexpr PoolIndex kNoPool{-1};

// The number of a plan: 1 for a ledger's first, then one more each.
using PlanNumber = StrongId<struct PlanNumberTag, uint64_t>;

// A sequence's handle. `index` is its place in the device tables for its whole life, 0 ..
// max_sequences - 1; `generation` tells it from every earlier sequence at that index, so a stale
// handle is an error and never another request's memory. A default-constructed handle names no
// sequence.
struct SequenceId {
  int32_t index = -1;
  uint32_t generation = 0;

  friend constexpr bool operator==(SequenceId, SequenceId) = default;

  template <typename H>
  friend H AbslHashValue(H h, SequenceId id) {
    return H::combine(std::move(h), id.index, id.generation);
  }
};

}  // namespace terrace

#endif  // TERRACE_IDS_H_
