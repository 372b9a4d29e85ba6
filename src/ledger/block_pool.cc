#include "src/ledger/block_pool.h"

#include <limits>
#include <numeric>

#include "absl/strings/str_format.h"

namespace terrace::internal {

// References and queue are not value-initialized: unused, they cost no resident memory.
BlockPool::BlockPool(int32_t capacity)
    : states_(capacity, kFree),
      references_(new int32_t[capacity]),
      last_plans_(new uint64_t[capacity]),
      free_(capacity),
      num_free_(capacity),
      queue_(new Draining[capacity]) {
  std::iota(free_.rbegin(), free_.rend(), 0);  // block 0 goes first
}

absl::StatusOr<BlockPool::Reservation> BlockPool::Reserve(int32_t count, int32_t returning) {
  if (count < 0 || count > int64_t{num_available()} + returning) return NotAvailable(count);
  return Reservation(this, count);
}

absl::Status BlockPool::Allocate(absl::Span<BlockId> blocks) {
  const int64_t count = static_cast<int64_t>(blocks.size());
  if (count > num_available()) return NotAvailable(count);
  for (BlockId& block : blocks) block = TakeFree();
  return absl::OkStatus();
}

int32_t BlockPool::references(BlockId block) const {
  if (!IsLive(block)) return 0;
  return Holder(states_[block.value()]) == kShared ? references_[block.value()] : 1;
}

absl::Status BlockPool::AddReference(BlockId block) {
  if (IsCached(block)) {
    SetHolder(block.value(), kOwned);
    --num_cached_;
    return absl::OkStatus();
  }
  if (!IsLive(block)) return NotLive(block);
  const int32_t count = references(block);
  if (count == std::numeric_limits<int32_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("block %d has as many references as can be counted", block.value()));
  }
  SetHolder(block.value(), kShared);
  references_[block.value()] = count + 1;
  return absl::OkStatus();
}

inline void BlockPool::GiveBackOrDrain(int32_t block, std::optional<PlanNumber> plan) {
  if (plan.has_value()) {
    states_[block] = kDraining;
    queue_[QueueSlot(num_draining_++)] = {plan->value(), block};
  } else {
    GiveBack(block);
  }
}

absl::Status BlockPool::Free(absl::Span<const BlockId> blocks, std::optional<PlanNumber> plan) {
  const BlockId* const begin = blocks.data();
  const BlockId* const end = begin + blocks.size();
  for (const BlockId* block = begin; block != end; ++block) {
    if (!IsLive(*block)) [[unlikely]] {
      UndoFree(absl::MakeConstSpan(begin, block));
      return NotLive(*block);
    }
    const int32_t id = block->value();
    if (Holder(states_[id]) == kShared) {
      if (--references_[id] == 1) SetHolder(id, kOwned);
    } else if ((states_[id] & kReusable) != 0) {
      states_[id] = kCached;
      last_plans_[id] = plan.has_value() ? plan->value() : 0;
      ++num_cached_;
    } else {
      GiveBackOrDrain(id, plan);
    }
  }
  return absl::OkStatus();
}

// Array and queue grew at one end only, so walking back restores them in every detail.
void BlockPool::UndoFree(absl::Span<const BlockId> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const int32_t id = block->value();
    switch (Holder(states_[id])) {
      case kFree:  // or cached
        --(IsCached(*block) ? num_cached_ : num_free_);
        SetHolder(id, kOwned);
        break;
      case kDraining:
        --num_draining_;
        SetHolder(id, kOwned);
        break;
      default:  // live: of two references or more one was dropped
        references_[id] = references(*block) + 1;
        SetHolder(id, kShared);
        break;
    }
  }
}

void BlockPool::MarkReusable(BlockId block) {
  TERRACE_CHECK_EQ(IsLive(block) && !IsReusable(block), true);
  states_[block.value()] = static_cast<State>(states_[block.value()] | kReusable);
}

void BlockPool::UnmarkReusable(BlockId block, std::optional<PlanNumber> plan) {
  TERRACE_CHECK_EQ(IsReusable(block), true);
  State& state = states_[block.value()];
  if (state == kCached) {
    --num_cached_;
    GiveBackOrDrain(block.value(), plan);
  } else {
    state = Holder(state);
  }
}

void BlockPool::Retire(PlanNumber plan) {
  while (num_draining_ > 0 && queue_[queue_head_].plan <= plan.value()) {
    const int32_t block = queue_[queue_head_].block;
    queue_head_ = QueueSlot(1);
    --num_draining_;
    GiveBack(block);
  }
}

int32_t BlockPool::CountCached(uint64_t retired) const {
  int32_t count = 0;
  for (size_t id = 0; id < states_.size(); ++id) {
    count += states_[id] == kCached && last_plans_[id] <= retired;
  }
  return count;
}

int32_t BlockPool::CountDraining(uint64_t plan) const {
  int32_t count = 0;
  while (count < num_draining_ && queue_[QueueSlot(count)].plan <= plan) ++count;
  return count;
}

int32_t BlockPool::QueueSlot(int32_t offset) const {
  const int64_t slot = int64_t{queue_head_} + offset;
  return static_cast<int32_t>(slot < capacity() ? slot : slot - capacity());
}

absl::Status BlockPool::NotAvailable(int64_t count) const {
  return absl::ResourceExhaustedError(absl::StrFormat("%d blocks asked for, %d of %d available",
                                                      count, num_available(), capacity()));
}

absl::Status BlockPool::NotLive(BlockId block) const {
  if (static_cast<uint32_t>(block.value()) >= states_.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("block %d is not of this pool of %d blocks", block.value(), capacity()));
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("block %d is not live: it was freed before", block.value()));
}

void BlockPool::CheckInvariants() const {
  std::vector<int32_t> listed(states_.size(), 0);
  for (int32_t i = 0; i < num_free_; ++i) {
    TERRACE_CHECK_EQ(states_[free_[i]], kFree);  // (1)
    TERRACE_CHECK_EQ(++listed[free_[i]], 1);
  }
  uint64_t newest = 0;
  for (int32_t i = 0; i < num_draining_; ++i) {
    const Draining& draining = queue_[QueueSlot(i)];
    TERRACE_CHECK_EQ(states_[draining.block], kDraining);  // (1)
    TERRACE_CHECK_EQ(++listed[draining.block], 1);
    TERRACE_CHECK_LE(newest, draining.plan);  // (4)
    newest = draining.plan;
  }
  int32_t live = 0;
  int32_t cached = 0;
  for (int32_t id = 0; id < capacity(); ++id) {
    const BlockId block(id);
    live += IsLive(block);
    cached += IsCached(block);
    TERRACE_CHECK_EQ(IsLive(block) || IsCached(block), listed[id] == 0);           // (1)
    if (Holder(states_[id]) == kShared) TERRACE_CHECK_GE(references_[id], 2);      // (2)
    if (IsReusable(block)) TERRACE_CHECK_EQ(IsLive(block) || IsCached(block), 1);  // (5)
  }
  TERRACE_CHECK_EQ(cached, num_cached_);
  TERRACE_CHECK_EQ(num_free_ + live + cached + num_draining_, capacity());  // (3)
  TERRACE_CHECK_LE(num_reserved_, num_free_);
}

}  // namespace terrace::internal
