// Finding fault with answers, before they are carried out.

#include <algorithm>
#include <optional>

#include "tests/model/prefix_model.h"

namespace terrace::testing {
namespace {

using absl::StatusCode;

}  // namespace

// ---- What a prompt finds.

// Where to feed `tokens` tokens again, or a few more: window rows are stored from a block's first.
int32_t PrefixModel::RefeedFrom(int32_t matched, int64_t tokens) const {
  const int window = geometry_.window_pool;
  const int32_t unit = std::max(128, window < 0 ? 0 : geometry_.pools[window].tokens_per_block);
  return static_cast<int32_t>(std::max<int64_t>(0, matched - tokens)) / unit * unit;
}

// Every layer needs the window of the one below it; without a window an entry needs the 4 tokens
// that it overlaps.
int32_t PrefixModel::ExactRefeedFrom(int32_t matched) const {
  if (geometry_.window_pool < 0) return RefeedFrom(matched, geometry_.overlap_pool < 0 ? 0 : 4);
  return RefeedFrom(matched, int64_t{geometry_.num_layers} * (geometry_.window_tokens - 1));
}

PrefixMatch PrefixModel::ExpectMatch(const SequenceRequest& request) const {
  if (!options_.prefix.enabled || request.tokens.empty()) return {};
  const int32_t chunk = geometry_.chunk_tokens;
  const int32_t most = (static_cast<int32_t>(request.tokens.size()) - 1) / chunk;
  const std::vector<ChunkDigest> digests =
      ChunkDigests(request.salt, request.tokens, chunk, request.key_ranges);
  const int32_t matched = std::min(mirror_.Matching(digests, last_matched()), most) * chunk;
  int32_t checkpoint = matched;
  while (checkpoint > 0 &&
         !mirror_.HasCheckpoint(digests[checkpoint / chunk - 1], last_matched())) {
    checkpoint -= chunk;
  }
  PrefixMatch match{.matched = matched};
  const int32_t exact = ExactRefeedFrom(matched);
  (checkpoint >= exact ? match.resumed : match.skipped) = std::max(checkpoint, exact);
  match.refed = matched - std::max(checkpoint, exact);
  if (request.refeed.approximate_tokens > 0) {
    const int32_t from = RefeedFrom(matched, request.refeed.approximate_tokens);
    if (matched - from < match.refed) {
      match = {.matched = matched, .skipped = from, .refed = matched - from, .approximate = true};
    }
  }
  if (match.refed <= request.refeed.max_tokens) return match;
  return {.matched = checkpoint, .resumed = checkpoint};
}

PrefixMatch PrefixModel::ExpectExtension(SequenceId id) const {
  const PrefixSequence& sequence = *Find(id);
  if (!options_.prefix.enabled || !sequence.in_index || sequence.taint > 0) return {};
  const int32_t chunk = geometry_.chunk_tokens;
  const int32_t most = std::max(0, sequence.known - 1) / chunk;
  // Its own path is its own, retired or not.
  const int32_t own = sequence.published / chunk;
  const absl::Span<const ChunkDigest> digests = sequence.digests;
  const int32_t beyond =
      std::ssize(digests) <= own ? 0 : mirror_.Matching(digests.subspan(own), last_matched());
  const int32_t matched = std::min(own + beyond, most) * chunk;
  const int32_t length = sequence.length;
  const int32_t had = std::max(length, sequence.published);
  if (matched <= had) return {};
  int32_t checkpoint = matched;  // of what it finds only now
  while (checkpoint > had &&
         !mirror_.HasCheckpoint(digests[checkpoint / chunk - 1], last_matched())) {
    checkpoint -= chunk;
  }
  // Its own rows serve as a checkpoint does.
  const int32_t resumed = checkpoint > had ? checkpoint : length;
  const int32_t exact = ExactRefeedFrom(matched);
  PrefixMatch match{.matched = matched - length, .refed = matched - std::max(resumed, exact)};
  (resumed >= exact ? match.resumed : match.skipped) = std::max(resumed, exact) - length;
  return match;
}

// ---- Judging answers.

void PrefixModel::JudgeAllocate(const SequenceRequest& request, const absl::Status& status) {
  const int64_t tokens = static_cast<int64_t>(request.tokens.size());
  const int64_t longest = std::max<int64_t>(tokens, request.reserve_tokens);
  const int64_t chunks = (longest + geometry_.chunk_tokens - 1) / geometry_.chunk_tokens;
  const bool full = static_cast<int32_t>(sequences_.size()) == geometry_.max_sequences;
  bool too_long = false;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    too_long |= is_full(p) && chunks > geometry_.pools[p].capacity_blocks;
  }
  bool bad_mark = false;
  for (const int32_t mark : request.marks) {
    bad_mark |= mark < 0 || mark > geometry_.max_context_tokens;
  }
  const bool wrong = bad_mark || tokens > geometry_.max_context_tokens ||
                     request.refeed.max_tokens < 0 || request.refeed.approximate_tokens < 0 ||
                     request.time_to_live_ms < 0 || request.reserve_tokens < 0 ||
                     request.reserve_tokens > geometry_.max_context_tokens ||
                     (!request.digests.empty() && static_cast<int64_t>(request.digests.size()) !=
                                                      tokens / geometry_.chunk_tokens);
  if (wrong) {
    Expect(status.code() == StatusCode::kInvalidArgument, "a bad request is refused");
  } else if (too_long) {
    const std::optional<Shortage> shortage = ShortageOf(status);
    Expect((status.code() == StatusCode::kOutOfRange && shortage.has_value() &&
            !shortage->retry_later) ||
               (full && status.code() == StatusCode::kResourceExhausted),
           "a prompt that no pool can hold is refused for good");
  } else if (const std::optional<Shortage> shortage = ShortageOf(status); shortage.has_value()) {
    JudgeReservation(request, *shortage);
  } else {
    Expect(status.code() == (full ? StatusCode::kResourceExhausted : StatusCode::kOk),
           "an allocation succeeds while there is a sequence index");
  }
}

absl::StatusCode PrefixModel::CodeOfBatch(absl::Span<const StepRequest> batch) const {
  if (options_.in_flight_plans > 0 &&
      last_plan_ - retired_ == static_cast<uint64_t>(options_.in_flight_plans)) {
    return StatusCode::kFailedPrecondition;
  }
  int64_t tokens = 0;
  std::set<int32_t> sequences;
  for (const StepRequest& request : batch) {
    const PrefixSequence* const sequence = Find(request.id);
    if (sequence == nullptr) return StatusCode::kNotFound;
    if (!sequences.insert(request.id.index).second) return StatusCode::kInvalidArgument;
    if (request.tokens < 1 || request.drafts < 0 || request.drafts > request.tokens ||
        request.drafts > geometry_.max_drafts ||
        int64_t{sequence->length} + request.tokens > geometry_.max_context_tokens) {
      return StatusCode::kInvalidArgument;
    }
    if (sequence->undecided() > 0) return StatusCode::kFailedPrecondition;
    tokens += request.tokens;
    if (tokens > geometry_.max_step_tokens) return StatusCode::kInvalidArgument;
  }
  return StatusCode::kOk;
}

// What sequences hold and must hold decides; what is merely cached has to make room.
void PrefixModel::JudgeAppend(absl::Span<const StepRequest> batch, const absl::Status& status) {
  const StatusCode code = CodeOfBatch(batch);
  if (code != StatusCode::kOk) {
    Expect(status.code() == code && !ShortageOf(status).has_value(), "a bad batch is refused");
    return;
  }
  const std::optional<Shortage> shortage = ShortageOf(status);
  const bool retry_later = shortage.has_value() && shortage->retry_later;
  Expect(shortage.has_value() != status.ok(), "a good batch is refused for want of blocks alone");
  bool never = false, must_wait = false, must_fit = true;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (p == geometry_.overlap_pool) continue;
    const BlockNeed need = NeedOf(batch, p);
    const int32_t capacity = geometry_.pools[p].capacity_blocks;
    never |= need.of_batch > capacity;
    // While a plan runs, what the step releases cannot be taken again.
    const int32_t in_use = idle() ? need.after : need.before_and_after;
    must_wait |= in_use + use_[p].draining > capacity;
    const int32_t taken = need.before_and_after - need.before;
    must_fit &= taken <= use_[p].free || (idle() && need.after <= capacity);
    // What is set aside for the batch itself is part of it twice.
    // A step that leaves a window gives back what its sequence has set aside again.
    const int32_t reserved = std::max(use_[p].reserved, need.reserved_after);
    const int32_t spare = p == geometry_.window_pool ? 8 : static_cast<int32_t>(freed_.size());
    const bool is_tight = reserved > 0 && need.before_and_after + reserved + spare > capacity;
    must_fit &= !is_tight;
    if (shortage.has_value() && shortage->pool == PoolIndex(p)) {
      Expect(shortage->missing_blocks > 0, "a shortage says how many blocks are missing");
      Expect(retry_later || need.of_batch > capacity, "a step that fits some day is refused: pool ",
             p, ", ", need.of_batch, " of ", capacity);
      Expect(taken > use_[p].free || is_tight,
             "a pool is short that has what the step takes: pool ", p, ", ", taken, " of ",
             use_[p].free);
    }
  }
  if (shortage.has_value()) JudgeShortage(batch, *shortage);
  const bool alone = idle() && batch.size() == 1 && sequences_.size() == 1;
  Expect(!alone || !retry_later, "the only sequence there is is told to wait: ", status.ToString());
  Expect(!never || (shortage.has_value() && !retry_later), "a step that never fits is told so");
  Expect(!must_wait || !status.ok(), "a step took blocks that there are not");
  Expect(!must_fit || status.ok(),
         "a step is refused though what it lacks is merely cached: ", status.ToString());
}

// What a shortage says of the blocks of its pool.
void PrefixModel::JudgeShortage(absl::Span<const StepRequest> batch, const Shortage& shortage) {
  const int p = shortage.pool.value();
  if (p == geometry_.overlap_pool) return;
  const PoolUse& use = use_[p];
  std::set<int32_t> held;
  for (const StepRequest& request : batch) {
    for (const int32_t block : held_[p][request.id.index]) {
      if (block >= 0) held.insert(block);
    }
  }
  const int32_t beside =
      PoolIndex(p) == CsaStatePool(geometry_) ? static_cast<int32_t>(freed_.size()) : 0;
  const int32_t others = use.live - static_cast<int32_t>(held.size());
  Expect(shortage.held_blocks == static_cast<int32_t>(held.size()), "a shortage: held blocks");
  Expect(shortage.preemptible_blocks <= others && shortage.preemptible_blocks >= others - beside,
         "a shortage: blocks of others");
  Expect(shortage.free_blocks == use.free, "a shortage: free blocks");
  Expect(shortage.evictable_blocks == use.evictable_now, "a shortage: evictable blocks");
  Expect(shortage.returning_blocks == use.evictable_later + use.draining,
         "a shortage: returning blocks");
  int32_t own = 0;
  for (const StepRequest& request : batch) {
    own += ReservedNow(request.id.index, *Find(request.id), p);
  }
  Expect(shortage.reserved_blocks == use.reserved - own, "a shortage: reserved blocks");
  const uint64_t retire = shortage.retire.value();
  Expect(retire == 0 || (retire > retired_ && retire <= last_plan_ && !idle()),
         "a shortage names a plan that does not run");
  Expect(retire > 0 || shortage.retire_blocks == 0, "a shortage: blocks of no plan");
  Expect(shortage.retire_blocks <= shortage.returning_blocks, "a shortage: blocks of a plan");
}

void PrefixModel::JudgeRetry(const Shortage& before, const absl::Status& status) {
  const std::optional<Shortage> shortage = ShortageOf(status);
  Expect(!shortage.has_value() || shortage->pool != before.pool,
         "the plan that a shortage named was not enough: ", status.ToString());
}

std::vector<int32_t> PrefixModel::WrittenIndices(const StepRequest& request, int pool) const {
  if (is_state(pool)) return {0};
  const PrefixSequence& sequence = *Find(request.id);
  const int32_t end = sequence.length + request.tokens;
  std::vector<int32_t> indices;
  for (int32_t p = sequence.length; p < end; ++p) {
    const bool stored = is_full(pool) ? p >= sequence.write_from
                                      : p >= end - request.drafts - (geometry_.window_tokens - 1) ||
                                            geometry_.store_whole_chunk == 1;
    const int32_t index = p / geometry_.pools[pool].tokens_per_block;
    if (stored && (indices.empty() || indices.back() != index)) indices.push_back(index);
  }
  return indices;
}

PrefixModel::BlockNeed PrefixModel::NeedOf(absl::Span<const StepRequest> batch, int pool) const {
  std::vector<std::vector<int32_t>> tables = held_[pool];
  std::set<int32_t> of_batch, after, before_and_after;
  const auto sharers = [&](int32_t block) {
    int count = 0;
    for (const auto& table : tables) count += std::count(table.begin(), table.end(), block) > 0;
    return count;
  };
  const auto insert = [](const std::vector<int32_t>& table, std::set<int32_t>& blocks) {
    for (const int32_t block : table) {
      if (block >= 0) blocks.insert(block);
    }
  };
  for (const auto& table : tables) insert(table, before_and_after);
  const int32_t before = static_cast<int32_t>(before_and_after.size());
  int32_t fresh = geometry_.pools[pool].capacity_blocks;  // ids of blocks to take
  for (const StepRequest& request : batch) {
    for (const int32_t index : WrittenIndices(request, pool)) {
      int32_t& block = tables[request.id.index][index];
      if (block >= 0 && sharers(block) == 1) continue;
      if (block >= 0) after.insert(block);  // the step reads what it copies
      block = fresh++;
    }
  }
  for (const StepRequest& request : batch) {
    std::vector<int32_t>& table = tables[request.id.index];
    if (pool == geometry_.window_pool) {
      const int32_t begin = std::max(0, Find(request.id)->length - (geometry_.window_tokens - 1));
      std::fill_n(table.begin(), begin / geometry_.pools[pool].tokens_per_block, -1);
    }
    insert(table, of_batch);
  }
  for (const auto& table : tables) insert(table, after);
  before_and_after.insert(after.begin(), after.end());
  const auto size = [](const std::set<int32_t>& blocks) {
    return static_cast<int32_t>(blocks.size());
  };
  int32_t reserved = 0;
  for (const auto& [key, sequence] : sequences_) {
    int32_t decided = sequence.draft_begin;
    for (const StepRequest& request : batch) {
      if (Find(request.id) != &sequence) continue;
      decided = sequence.length + request.tokens - request.drafts;
    }
    reserved += ReservedOf(sequence, pool, decided, tables[key.first]);
  }
  return {size(of_batch), before, size(after), size(before_and_after), reserved};
}

void PrefixModel::JudgeExtend(SequenceId id, const absl::Status& status) {
  const PrefixSequence* const sequence = Find(id);
  const StatusCode code = sequence == nullptr         ? StatusCode::kNotFound
                          : sequence->undecided() > 0 ? StatusCode::kFailedPrecondition
                                                      : StatusCode::kOk;
  Expect(status.code() == code, "ExtendMatch");
}

void PrefixModel::JudgeFork(SequenceId id, const absl::Status& status) {
  const PrefixSequence* const sequence = Find(id);
  const bool full = static_cast<int32_t>(sequences_.size()) == geometry_.max_sequences;
  const StatusCode code = sequence == nullptr                  ? StatusCode::kNotFound
                          : sequence->length > sequence->known ? StatusCode::kFailedPrecondition
                          : full                               ? StatusCode::kResourceExhausted
                                                               : StatusCode::kOk;
  Expect(status.code() == code || (full && status.code() == StatusCode::kResourceExhausted),
         "Fork");
}

void PrefixModel::JudgeCommit(SequenceId id, int64_t tokens, const absl::Status& status) {
  const PrefixSequence* const sequence = Find(id);
  if (sequence == nullptr) {
    Expect(status.code() == StatusCode::kNotFound, "Commit of a stale handle");
    return;
  }
  const int64_t known = sequence->known + tokens;
  const int32_t rows = std::max(sequence->length, sequence->lost_rows);
  const bool ahead = tokens > 0 && known > rows + 1 && !sequence->ids_ahead;
  Expect(status.code() == (known > geometry_.max_context_tokens + 1 ? StatusCode::kInvalidArgument
                           : ahead ? StatusCode::kFailedPrecondition
                                   : StatusCode::kOk),
         "Commit");
}

void PrefixModel::JudgeTruncate(SequenceId id, int32_t length, const absl::Status& status) {
  const PrefixSequence* const sequence = Find(id);
  if (sequence == nullptr) {
    Expect(status.code() == StatusCode::kNotFound, "Truncate of a stale handle");
    return;
  }
  const bool right =
      length <= sequence->length && length >= sequence->length - sequence->undecided();
  Expect(status.code() == (right ? StatusCode::kOk : StatusCode::kInvalidArgument), "Truncate");
}

void PrefixModel::JudgeFree(SequenceId id, const absl::Status& status) {
  Expect(status.code() == (Find(id) != nullptr ? StatusCode::kOk : StatusCode::kNotFound), "Free");
}

void PrefixModel::JudgeRetire(uint64_t plan, const absl::Status& status) {
  const bool right = plan > retired_ && plan <= last_plan_;
  const bool never =
      options_.in_flight_plans == 0 && options_.prefix.match == MatchPolicy::kAppended;
  Expect(status.code() == (never   ? StatusCode::kFailedPrecondition
                           : right ? StatusCode::kOk
                                   : StatusCode::kInvalidArgument),
         "Retire");
}

}  // namespace terrace::testing
