#include "terrace/block_pool.h"

#include <limits>
#include <numeric>

#include "absl/strings/str_format.h"

namespace terrace {

BlockPool::BlockPool(int32_t capacity)
    : words_(capacity, kFree),
      free_(capacity),
      num_free_(capacity),
      queue_(new Draining[capacity]) {  // not value-initialized: costs no resident memory unused
  std::iota(free_.rbegin(), free_.rend(), 0);  // block 0 goes first
}

absl::StatusOr<BlockPool::Reservation> BlockPool::Reserve(int32_t count, int32_t returning) {
  if (count < 0 || count > num_available() + returning) {
    return absl::ResourceExhaustedError(absl::StrFormat("%d blocks asked for, %d of %d available",
                                                        count, num_available(), capacity()));
  }
  return Reservation(this, count);
}

absl::Status BlockPool::Allocate(absl::Span<BlockId> blocks) {
  if (static_cast<int64_t>(blocks.size()) > num_available()) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "%d blocks asked for, %d of %d available", blocks.size(), num_available(), capacity()));
  }
  for (BlockId& block : blocks) block = TakeFree();
  return absl::OkStatus();
}

absl::Status BlockPool::AddReference(BlockId block) {
  if (!IsLive(block)) return NotLive(block);
  if (words_[block.value()] == std::numeric_limits<int32_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrFormat("block %d has as many references as can be counted", block.value()));
  }
  ++words_[block.value()];
  return absl::OkStatus();
}

absl::Status BlockPool::Free(absl::Span<const BlockId> blocks, std::optional<PlanNumber> plan) {
  const BlockId* const begin = blocks.data();
  const BlockId* const end = begin + blocks.size();
  for (const BlockId* block = begin; block != end; ++block) {
    if (!IsLive(*block)) [[unlikely]] {
      UndoFree(absl::MakeConstSpan(begin, block));
      return NotLive(*block);
    }
    int32_t& word = words_[block->value()];
    if (--word > 0) continue;
    if (plan.has_value()) {
      Drain(block->value(), *plan);
    } else {
      free_[num_free_++] = block->value();  // word is kFree now
    }
  }
  return absl::OkStatus();
}

// Both lists grew at one end only, so walking back restores them in every detail.
void BlockPool::UndoFree(absl::Span<const BlockId> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    int32_t& word = words_[block->value()];
    if (word == kFree) {
      --num_free_;
    } else if (word == kDraining) {
      --num_draining_;
      word = 0;
    }
    ++word;
  }
}

void BlockPool::Drain(int32_t block, PlanNumber plan) {
  words_[block] = kDraining;
  queue_[QueueSlot(num_draining_++)] = {plan.value(), block};
}

void BlockPool::Retire(PlanNumber plan) {
  while (num_draining_ > 0 && queue_[queue_head_].plan <= plan.value()) {
    const int32_t block = queue_[queue_head_].block;
    queue_head_ = QueueSlot(1);
    --num_draining_;
    words_[block] = kFree;
    free_[num_free_++] = block;
  }
}

int32_t BlockPool::QueueSlot(int32_t offset) const {
  const int64_t slot = int64_t{queue_head_} + offset;
  return static_cast<int32_t>(slot < capacity() ? slot : slot - capacity());
}

absl::Status BlockPool::NotLive(BlockId block) const {
  if (static_cast<uint32_t>(block.value()) >= words_.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("block %d is not of this pool of %d blocks", block.value(), capacity()));
  }
  return absl::InvalidArgumentError(
      absl::StrFormat("block %d is not live: it was freed before", block.value()));
}

void BlockPool::CheckInvariants() const {
  std::vector<int32_t> listed(words_.size(), 0);
  for (int32_t i = 0; i < num_free_; ++i) {
    TERRACE_CHECK_EQ(words_[free_[i]], kFree);  // (1)
    TERRACE_CHECK_EQ(++listed[free_[i]], 1);
  }
  uint64_t newest = 0;
  for (int32_t i = 0; i < num_draining_; ++i) {
    const Draining& draining = queue_[QueueSlot(i)];
    TERRACE_CHECK_EQ(words_[draining.block], kDraining);  // (1)
    TERRACE_CHECK_EQ(++listed[draining.block], 1);
    TERRACE_CHECK_LE(newest, draining.plan);  // (3)
    newest = draining.plan;
  }
  int32_t live = 0;
  for (size_t block = 0; block < words_.size(); ++block) {
    TERRACE_CHECK_EQ(words_[block] > 0, listed[block] == 0);  // (1)
    live += words_[block] > 0;
  }
  TERRACE_CHECK_EQ(num_free_ + live + num_draining_, capacity());  // (2)
  TERRACE_CHECK_LE(num_reserved_, num_free_);
}

}  // namespace terrace
