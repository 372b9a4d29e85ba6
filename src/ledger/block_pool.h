// BlockPool hands out the blocks of one pool by id. It knows nothing of bytes, devices or
// sequences.
//
// A block is in one state at a time:
//   free      nobody owns it; the next one asked for may be it
//   live      owned by one (Allocate, Reservation::Take) or shared by several (AddReference)
//   cached    nobody owns it, but its content may be reused (MarkReusable, then Free): AddReference
//             makes it live again, UnmarkReusable frees it or lets it drain
//   draining  nobody owns it, but a running plan may name it (Free with a plan, until Retire)
//
// Free ids are a LIFO array: the block handed out is the one whose metadata is warmest. The state
// is one byte a block, so that the states of a million blocks stay in a core's own cache;
// references are counted beside it, and only for shared blocks. Thread-safe: no; the ledger
// serialises calls.   Cost: O(1) a block; all memory is taken at construction.
//
// Invariants:
//  (1) a block whose state says free is in the free array, one that says draining in the draining
//      queue, once; a live or cached one is in neither;
//  (2) a shared block has two references or more;
//  (3) num_free() + num_live() + num_cached() + num_draining() == capacity();
//  (4) the draining queue is ordered by plan, oldest first;
//  (5) only live and cached blocks are reusable, and every cached one is.

#ifndef TERRACE_SRC_LEDGER_BLOCK_POOL_H_
#define TERRACE_SRC_LEDGER_BLOCK_POOL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "src/base/check.h"
#include "terrace/ids.h"

namespace terrace::internal {

class BlockPool {
 public:
  class Reservation;

  // REQUIRES: capacity >= 0.
  explicit BlockPool(int32_t capacity);
  BlockPool(BlockPool&&) = default;

  // Sets `count` blocks aside, so that taking them later cannot fail. Up to `returning` of them
  // need not be free yet: the caller owns as many and frees them before it takes them.
  // Errors: ResourceExhausted; nothing is set aside then.
  absl::StatusOr<Reservation> Reserve(int32_t count, int32_t returning = 0);

  // One live block with one reference.
  // Errors: ResourceExhausted.
  absl::StatusOr<BlockId> Allocate() {
    if (num_available() > 0) [[likely]]
      return TakeFree();
    return NotAvailable(1);
  }

  // Fills `blocks` with live blocks of one reference each: all of them or none.
  // Errors: ResourceExhausted.
  absl::Status Allocate(absl::Span<BlockId> blocks);

  // One more reference of a live block; the first of a cached one, which is live again.
  // Errors: InvalidArgument for a block that is not of this pool, free or draining.
  absl::Status AddReference(BlockId block);

  // Drops one reference of each. Blocks that lost their last are cached if they are reusable;
  // otherwise they are free, or drain until `plan` is retired. All or nothing.
  // Errors: InvalidArgument for a block that is not of this pool or not live (freed twice).
  // REQUIRES: `plan` is not lower than the plan of any earlier call.
  absl::Status Free(absl::Span<const BlockId> blocks,
                    std::optional<PlanNumber> plan = std::nullopt);

  // The same for one block that drains for no plan.
  absl::Status Free(BlockId block) {
    if (StateOf(block) != kOwned) [[unlikely]]
      return Free(absl::MakeConstSpan(&block, 1));
    GiveBack(block.value());
    return absl::OkStatus();
  }

  // The content of `block` can be found from now on: when its last reference is dropped it is
  // cached.   REQUIRES: it is live and not reusable.
  void MarkReusable(BlockId block);

  // The content is not found any more. A cached block is free, or drains until `plan` is retired; a
  // live one goes when its last reference is dropped.
  // REQUIRES: it is reusable; `plan` as in Free.
  void UnmarkReusable(BlockId block, std::optional<PlanNumber> plan = std::nullopt);

  // False for a block that is not of this pool.
  bool IsReusable(BlockId block) const {
    const std::optional<State> state = StateOf(block);
    return state.has_value() && (*state & kReusable) != 0;
  }
  bool IsCached(BlockId block) const { return StateOf(block) == kCached; }
  // The last plan that may name a cached block: the one it was freed with, 0 if with none.
  PlanNumber last_plan(BlockId cached) const { return PlanNumber(last_plans_[cached.value()]); }
  // Cached blocks that no plan above `retired` may name.   Cost: O(capacity).
  int32_t CountCached(uint64_t retired) const;
  // Blocks that drain for plans up to `plan`.   Cost: O(result).
  int32_t CountDraining(uint64_t plan) const;
  // Whether dropping one reference makes it free, or draining.
  bool IsHeldByOne(BlockId block) const { return StateOf(block) == kOwned; }

  // Frees what drained for plans up to `plan`.   Cost: O(blocks freed).
  void Retire(PlanNumber plan);

  int32_t capacity() const { return static_cast<int32_t>(states_.size()); }
  int32_t num_free() const { return num_free_; }
  int32_t num_live() const { return capacity() - num_free_ - num_cached_ - num_draining_; }
  int32_t num_cached() const { return num_cached_; }
  int32_t num_draining() const { return num_draining_; }
  // Free blocks that no reservation holds.
  int32_t num_available() const { return num_free_ - num_reserved_; }
  // References of `block`; 0 if it is not live or not of this pool.
  int32_t references(BlockId block) const;

  // CHECKs the invariants above.   Cost: O(capacity).
  void CheckInvariants() const;

 private:
  // What holds a block (the low bits), and whether it is reusable.
  enum State : uint8_t {
    kFree = 0,
    kOwned = 1,   // one reference
    kShared = 2,  // two or more
    kDraining = 3,
    kReusable = 4,
    kCached = kFree | kReusable,
  };

  struct Draining {
    uint64_t plan;
    int32_t block;
  };

  // Of a block that is not of this pool: nothing.
  std::optional<State> StateOf(BlockId block) const {
    if (static_cast<uint32_t>(block.value()) >= states_.size()) return std::nullopt;
    return states_[block.value()];
  }
  bool IsLive(BlockId block) const {
    const std::optional<State> state = StateOf(block);
    return state.has_value() && (Holder(*state) == kOwned || Holder(*state) == kShared);
  }
  static State Holder(State state) { return static_cast<State>(state & ~kReusable); }
  // `block` as it is, but held by `holder`: reusable before, reusable after.
  void SetHolder(int32_t block, State holder) {
    states_[block] = static_cast<State>(holder | (states_[block] & kReusable));
  }
  void GiveBack(int32_t block) {
    states_[block] = kFree;
    free_[num_free_++] = block;
  }
  BlockId TakeFree() {
    TERRACE_CHECK_GT(num_free_, 0);
    const int32_t block = free_[--num_free_];
    states_[block] = kOwned;
    return BlockId(block);
  }
  void GiveBackOrDrain(int32_t block, std::optional<PlanNumber> plan);
  int32_t QueueSlot(int32_t offset) const;  // of the draining queue, from its oldest
  void UndoFree(absl::Span<const BlockId> blocks);
  absl::Status NotLive(BlockId block) const;
  absl::Status NotAvailable(int64_t count) const;

  std::vector<State> states_;
  std::unique_ptr<int32_t[]> references_;   // of shared blocks; untouched until one is shared
  std::unique_ptr<uint64_t[]> last_plans_;  // of cached blocks; untouched until one is cached
  std::vector<int32_t> free_;  // the first num_free_ are free; the last of them goes next
  int32_t num_free_ = 0;
  int32_t num_reserved_ = 0;
  int32_t num_cached_ = 0;
  std::unique_ptr<Draining[]> queue_;  // a ring of capacity(); untouched until one drains
  int32_t queue_head_ = 0;
  int32_t num_draining_ = 0;
};

// Blocks set aside. Destroying it gives back what was not taken. The pool must outlive it and stay
// where it is.
class BlockPool::Reservation {
 public:
  Reservation() = default;
  Reservation(Reservation&& other) noexcept
      : pool_(other.pool_), count_(std::exchange(other.count_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~Reservation() {
    if (count_ > 0) pool_->num_reserved_ -= count_;
  }

  int32_t count() const { return count_; }

  // A live block with one reference.   REQUIRES: count() > 0.
  BlockId Take() {
    TERRACE_CHECK_GT(count_, 0);
    --count_;
    --pool_->num_reserved_;
    return pool_->TakeFree();
  }

 private:
  friend class BlockPool;
  Reservation(BlockPool* pool, int32_t count) : pool_(pool), count_(count) {
    pool_->num_reserved_ += count;
  }

  BlockPool* pool_ = nullptr;
  int32_t count_ = 0;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_LEDGER_BLOCK_POOL_H_
