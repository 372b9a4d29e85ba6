#include "tools/terrace/verify/sampler.h"

#include <algorithm>

#include "tools/terrace/contents/hash.h"

namespace terrace::tools {
namespace {

// Whether tokens first .. last touch what was or will be taken back, or the row before it.
bool TouchesRollback(const StepSequence& part, int32_t first, int32_t last) {
  const bool was = part.taken_back_begin < part.taken_back_end &&
                   last >= part.taken_back_begin - 1 && first < part.taken_back_end;
  const bool will_be = part.accepted < part.drafts && last >= part.keep_end() - 1;
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

void Sampler::PickQueries(absl::Span<const StepSequence> sequences,
                          std::vector<SampledQuery>* queries) {
  const int32_t count = static_cast<int32_t>(sequences.size());
  const int32_t any = Draw(count);
  // The first sequence of a kind from `any` on, or that one.
  const auto find = [&](auto is_wanted) {
    for (int32_t i = 0; i < count; ++i) {
      if (is_wanted(sequences[(any + i) % count])) return (any + i) % count;
    }
    return any;
  };
  const int32_t rolled_back =
      find([](const StepSequence& part) { return part.taken_back_begin < part.taken_back_end; });
  const int32_t resumed = find([](const StepSequence& part) {
    return part.shared.resumed_at > 0 && part.shared.resumed_at == part.first;
  });
  queries->clear();
  const int32_t any_row = Draw(sequences[any].count);
  int32_t first_row = 0;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t last = sequences[i].count - 1;
    const auto add = [&](int32_t row) {
      const SampledQuery query{first_row + row, i, sequences[i].first + row};
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
    first_row += sequences[i].count;
  }
}

void Sampler::PickEntries(const PoolSpec& pool, const StepSequence& part, const SampledQuery& query,
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
  if (part.taken_back_begin < part.taken_back_end) {
    pick((part.taken_back_begin - 1) / pool.ratio);
    pick((part.taken_back_end - 1) / pool.ratio);
  }
  if (part.shared.write_from > 0) {
    const int32_t shared = part.shared.write_from / pool.ratio;
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

RowClass Sampler::ClassOfWindowRow(const PoolSpec& pool, const StepSequence& part,
                                   const SampledQuery& query, int32_t position) const {
  if (TouchesRollback(part, position, position)) return RowClass::kRollback;
  if (position < part.shared.resumed_at) return RowClass::kShared;
  const int32_t age = query.position - position;
  const int32_t stored_begin = part.first + part.count - part.drafts - model_.window_tokens + 1;
  if (age == 0 || age == model_.window_tokens - 1 || position == stored_begin) {
    return RowClass::kWindow;
  }
  if (IsEdge(position, model_.chunk_tokens)) return RowClass::kChunk;
  return IsEdge(position, pool.entries_per_block) ? RowClass::kBlock : RowClass::kInterior;
}

RowClass Sampler::ClassOfEntry(const PoolSpec& pool, const StepSequence& part,
                               int32_t entry) const {
  const int32_t first = entry * pool.ratio;
  if (TouchesRollback(part, first, LastTokenOf(pool.rule, pool.ratio, first))) {
    return RowClass::kRollback;
  }
  if (first < part.shared.write_from) return RowClass::kShared;
  return IsEdge(entry, pool.entries_per_block) ? RowClass::kChunk : RowClass::kInterior;
}

}  // namespace terrace::tools
