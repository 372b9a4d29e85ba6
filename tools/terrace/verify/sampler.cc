#include "tools/terrace/verify/sampler.h"

#include <algorithm>

#include "tools/terrace/contents/hash.h"

namespace terrace {
namespace {

// Whether tokens first .. last touch what was or will be taken back, or the row before it.
bool TouchesRollback(const StepLane& lane, int32_t first, int32_t last) {
  const bool was = lane.taken_back_begin < lane.taken_back_end &&
                   last >= lane.taken_back_begin - 1 && first < lane.taken_back_end;
  const bool will_be = lane.accepted < lane.drafts && last >= lane.keep_end() - 1;
  return was || will_be;
}

bool IsEdge(int32_t index, int32_t size) { return index % size == 0 || index % size == size - 1; }

}  // namespace

bool Sampler::NextStep() {
  draws_ = 0;
  return UnitInterval(Mix(seed_, ++step_)) < rate_;
}

int32_t Sampler::Draw(int32_t count) {
  return static_cast<int32_t>(UnitInterval(Mix(seed_ ^ step_, ++draws_)) * count);
}

void Sampler::PickQueries(absl::Span<const StepLane> lanes, std::vector<SampledQuery>* queries) {
  const int32_t count = static_cast<int32_t>(lanes.size());
  const int32_t any = Draw(count);
  // The first lane of a kind from `any` on, or that one.
  const auto find = [&](auto is_wanted) {
    for (int32_t i = 0; i < count; ++i) {
      if (is_wanted(lanes[(any + i) % count])) return (any + i) % count;
    }
    return any;
  };
  const int32_t rolled_back =
      find([](const StepLane& lane) { return lane.taken_back_begin < lane.taken_back_end; });
  const int32_t resumed = find([](const StepLane& lane) {
    return lane.shared.resumed_at > 0 && lane.shared.resumed_at == lane.first;
  });
  queries->clear();
  const int32_t any_row = Draw(lanes[any].count);
  int32_t lane_row = 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t last = lanes[i].count - 1;
    const auto add = [&](int32_t row) {
      const SampledQuery query{lane_row + row, i, lanes[i].first + row};
      for (const SampledQuery& other : *queries) {
        if (other.token_row == query.token_row) return;
      }
      queries->push_back(query);
    };
    if (i == 0) add(0);
    if (i == any) add(any_row);
    if (i == rolled_back) {
      add(0);
      add(last);
    }
    if (i == resumed) add(0);
    if (i == count - 1) add(last);
    lane_row += lanes[i].count;
  }
}

void Sampler::PickEntries(const PoolSpec& pool, const StepLane& lane, const SampledQuery& query,
                          absl::Span<int32_t> entries) {
  const int32_t in_sight = EntriesInSight(pool, query.position);
  const int32_t most = static_cast<int32_t>(entries.size());
  std::fill(entries.begin(), entries.end(), -1);
  int32_t picked = 0;
  if (in_sight <= most) {
    for (int32_t entry = in_sight - 1; entry >= 0; --entry) entries[picked++] = entry;
    return;
  }
  const auto pick = [&](int32_t entry) {
    if (picked < most && entry >= 0 && entry < in_sight) entries[picked++] = entry;
  };
  pick(0);
  pick(in_sight - 1);
  if (lane.taken_back_begin < lane.taken_back_end) {
    pick((lane.taken_back_begin - 1) / pool.ratio);
    pick((lane.taken_back_end - 1) / pool.ratio);
  }
  if (lane.shared.write_from > 0) {
    const int32_t shared = lane.shared.write_from / pool.ratio;
    pick(shared - 1);
    pick(shared);
    pick(Draw(shared));
  }
  const int32_t per_block = pool.entries_per_block;
  const int32_t blocks = (in_sight + per_block - 1) / per_block;
  while (picked < most) {
    const int32_t block = Draw(blocks) * per_block;
    pick(std::min(Draw(2) == 0 ? block : block + per_block - 1, in_sight - 1));
    pick(Draw(in_sight));
  }
  std::sort(entries.begin(), entries.end());
  const auto end = std::unique(entries.begin(), entries.end());
  std::fill(end, entries.end(), -1);
}

RowClass Sampler::ClassOfWindowRow(const PoolSpec& pool, const StepLane& lane,
                                   const SampledQuery& query, int32_t position) const {
  if (TouchesRollback(lane, position, position)) return RowClass::kRollback;
  if (position < lane.shared.resumed_at) return RowClass::kShared;
  const int32_t age = query.position - position;
  const int32_t stored_begin = lane.first + lane.count - lane.drafts - model_.window_tokens + 1;
  if (age == 0 || age == model_.window_tokens - 1 || position == stored_begin) {
    return RowClass::kWindow;
  }
  if (IsEdge(position, model_.chunk_tokens)) return RowClass::kChunk;
  return IsEdge(position, pool.entries_per_block) ? RowClass::kBlock : RowClass::kInterior;
}

RowClass Sampler::ClassOfEntry(const PoolSpec& pool, const StepLane& lane, int32_t entry) const {
  const int32_t first = entry * pool.ratio;
  if (TouchesRollback(lane, first, LastTokenOf(pool.rule, pool.ratio, first))) {
    return RowClass::kRollback;
  }
  if (first < lane.shared.write_from) return RowClass::kShared;
  return IsEdge(entry, pool.entries_per_block) ? RowClass::kChunk : RowClass::kInterior;
}

}  // namespace terrace
