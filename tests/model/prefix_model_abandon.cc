// Lost plans and wrong rows: who computed what, what goes, and who starts over.

#include <algorithm>
#include <utility>

#include "tests/model/prefix_model.h"

namespace terrace::testing {
namespace {

constexpr uint64_t kPoison = 1;

using DigestKey = PrefixMirror::DigestKey;
using Chunk = PrefixMirror::Chunk;

}  // namespace

// ---- Who computed what

// What was stored is of the plan that last fed the sequence that stored it; a checkpoint whose
// overlap the next plan captures is that plan's.
void PrefixModel::Stamp(const PrefixEvent& event) {
  Chunk* const chunk = mirror_.Edit(event.digest);
  if (chunk == nullptr) return;
  for (const Key& key : actors_) {
    const PrefixSequence* const sequence = Find({key.first, key.second});
    if (sequence == nullptr ||
        std::count(sequence->digests.begin(), sequence->digests.end(), event.digest) == 0) {
      continue;
    }
    if (event.kind == PrefixEvent::Kind::kChunkStored) chunk->plan = sequence->plan;
    if (event.kind == PrefixEvent::Kind::kCheckpointStored) {
      const bool captured = !in_step_ && geometry_.overlap_pool >= 0;
      chunk->checkpoint_plan = captured ? last_plan_ + 1 : sequence->plan;
      chunk->checkpoint_owner = key;
    }
    return;
  }
}

// Where a step evicted more blocks than chunks, equal copies took the places of some.
void PrefixModel::RaiseCopies(const PrefixFigures& figures) {
  int64_t evicted = 0;
  for (int p = 0; p < geometry_.num_pools; ++p) {
    if (!is_full(p)) continue;
    evicted = std::max(evicted, figures.evicted_blocks[p] - figures_.evicted_blocks[p]);
  }
  if (in_step_ && evicted > removed_chunks_) {
    Expect(last_matched() == UINT64_MAX, "a case of kRetired has room for every sequence's chunks");
    for (const auto& [key, copy] : copies_) {
      Chunk* const chunk = mirror_.Edit(copy.first);
      if (chunk != nullptr) chunk->copy_plan = std::max(chunk->copy_plan, copy.second);
    }
  }
  copies_.clear();
  removed_chunks_ = 0;
  figures_ = figures;
}

// The chunks of the tokens `begin` to `end`, and the checkpoint before `resumed`.
void PrefixModel::AddAttachedPlans(PrefixSequence& sequence, int32_t begin, int32_t end,
                                   int32_t resumed) {
  const auto add = [&](uint64_t plan, uint64_t copy_plan) {
    sequence.plan = std::max(sequence.plan, plan);
    sequence.copy_plan = std::max({sequence.copy_plan, plan, copy_plan});
  };
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  for (int32_t i = begin / chunk_tokens; i < end / chunk_tokens; ++i) {
    const Chunk* const chunk = mirror_.Edit(sequence.digests[i]);
    if (chunk != nullptr) add(chunk->plan, chunk->copy_plan);
  }
  sequence.restored.reset();
  if (resumed == 0 || resumed % chunk_tokens != 0) return;
  const Chunk* const chunk = mirror_.Edit(sequence.digests[resumed / chunk_tokens - 1]);
  if (chunk == nullptr || !chunk->checkpoint) return;
  add(chunk->checkpoint_plan, 0);
  sequence.restored = sequence.digests[resumed / chunk_tokens - 1];
}

// ---- Plans that were lost

void PrefixModel::JudgeAbandon(uint64_t first, const absl::Status& status) {
  const bool right = first >= 1 && first <= last_plan_;
  Expect(status.code() == (right ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument),
         "Abandon");
}

void PrefixModel::Abandon(uint64_t first, const Abandoned& abandoned,
                          absl::Span<const PrefixEvent> events) {
  ++generation_;
  snapshot_due_ = true;
  const std::map<DigestKey, Chunk> before = mirror_.chunks();
  const auto [chunks, checkpoints] = Remove(events);
  for (const auto& [key, chunk] : before) {
    const bool below = chunks.count(PrefixMirror::Key(chunk.parent)) > 0;
    const bool must = below || chunk.plan >= first;
    const bool may = must || chunk.copy_plan >= first;
    Expect(chunks.count(key) > 0 ? may : !must, "chunks of lost plans go, and no others");
    const bool goes = chunks.count(key) > 0 || chunk.checkpoint_plan >= first;
    Expect((checkpoints.count(key) > 0) == (chunk.checkpoint && goes),
           "checkpoints of lost plans go, and no others");
  }
  std::vector<Key> affected;
  for (const auto& [key, sequence] : sequences_) {
    const bool must = sequence.plan >= first || LosesPath(sequence, chunks);
    const bool may = must || (!sequence.in_index && sequence.copy_plan >= first);
    const bool is = std::any_of(abandoned.sequences.begin(), abandoned.sequences.end(),
                                [&key = key](const Admission& admission) {
                                  return Key(admission.id.index, admission.id.generation) == key;
                                });
    Expect(is ? may : !must, "sequences of lost plans start over, and no others");
    if (is) affected.push_back(key);
  }
  for (int p = 0; p < geometry_.num_pools; ++p) {
    for (size_t slot = 0; slot < contents_[p].size(); ++slot) {
      if (writers_[p][slot] >= first) contents_[p][slot] = kPoison;
    }
  }
  freed_.clear();  // nothing is captured from them
  CheckAffected(affected, abandoned);
}

// ---- Rows that are wrong

std::vector<Distrusted> PrefixModel::FamilyOf(SequenceId id, int32_t from) const {
  const PrefixSequence* const named = Find(id);
  if (named == nullptr) return {{id, from}};
  if (broken_families_.count(named->family) > 0) return {};
  std::vector<Distrusted> family;
  for (const auto& [key, sequence] : sequences_) {
    if (!sequence.in_index) return {};
    if (sequence.family != named->family) continue;
    family.push_back({{key.first, key.second}, std::min(from, sequence.length)});
  }
  return family;
}

void PrefixModel::JudgeDistrust(absl::Span<const Distrusted> distrusted,
                                const absl::Status& status) {
  absl::StatusCode code = absl::StatusCode::kOk;
  for (const Distrusted& one : distrusted) {
    const PrefixSequence* const sequence = Find(one.id);
    if (sequence == nullptr) {
      code = absl::StatusCode::kNotFound;
    } else if (one.from < 0 || one.from > sequence->length) {
      code = absl::StatusCode::kInvalidArgument;
    }
    if (code != absl::StatusCode::kOk) break;
  }
  Expect(status.code() == code, "Distrust");
}

void PrefixModel::Distrust(absl::Span<const Distrusted> distrusted, const Abandoned& abandoned,
                           absl::Span<const PrefixEvent> events) {
  const std::map<DigestKey, Chunk> before = mirror_.chunks();
  const auto [chunks, checkpoints] = Remove(events);
  std::set<Key> named;
  Removed wrong;
  for (const Distrusted& one : distrusted) {
    const Key key(one.id.index, one.id.generation);
    named.insert(key);
    const PrefixSequence& sequence = *Find(one.id);
    const int32_t chunk_tokens = geometry_.chunk_tokens;
    for (int32_t i = one.from / chunk_tokens; i < sequence.published / chunk_tokens; ++i) {
      wrong.insert(PrefixMirror::Key(sequence.digests[i]));
    }
    for (int p = 0; p < geometry_.num_pools; ++p) {
      if (!is_state(p) && !HoldsRows(geometry_.pools[p].kind)) continue;
      const PoolGeometry& pool = geometry_.pools[p];
      const int32_t rows = pool.entries_per_block;
      const std::vector<int32_t>& table = held_[p][key.first];
      for (int32_t i = 0; i < static_cast<int32_t>(table.size()) * rows; ++i) {
        const int32_t block = table[i / rows];
        const int32_t position = pool.rule == EntryRule::kPooled && is_full(p)
                                     ? (i + 1) * pool.ratio - 1
                                     : i * pool.ratio;
        // What it attached is of others, and of forks of theirs that nobody names.
        const bool own = i * pool.ratio >= (is_full(p) ? sequence.write_from : sequence.own_from);
        if (block < 0) continue;
        if (is_state(p) || (own && position >= one.from)) {
          contents_[p][block * rows + i % rows] = kPoison;
        }
      }
    }
  }
  for (const auto& [key, chunk] : before) {
    const bool goes = wrong.count(key) > 0 || chunks.count(PrefixMirror::Key(chunk.parent)) > 0;
    Expect((chunks.count(key) > 0) == goes, "chunks of wrong rows go, and no others");
    const bool captured = geometry_.overlap_pool >= 0 && chunk.checkpoint_plan == last_plan_ + 1 &&
                          named.count(chunk.checkpoint_owner) > 0;
    Expect((checkpoints.count(key) > 0) == (chunk.checkpoint && (goes || captured)),
           "checkpoints of wrong rows go, and no others");
  }
  std::vector<Key> affected;
  for (const auto& [key, sequence] : sequences_) {
    const bool restores = sequence.restored.has_value() &&
                          checkpoints.count(PrefixMirror::Key(*sequence.restored)) > 0;
    if (named.count(key) == 0 && !restores && !LosesPath(sequence, chunks)) continue;
    affected.push_back(key);
    if (named.count(key) == 0) freed_.emplace(key.first, sequence);  // captures stay
  }
  CheckAffected(affected, abandoned);
}

// ---- Both

std::pair<PrefixModel::Removed, PrefixModel::Removed> PrefixModel::Remove(
    absl::Span<const PrefixEvent> events) {
  Removed chunks, checkpoints;
  for (const PrefixEvent& event : events) {
    mirror_.Apply(event);
    const bool of_chunk = event.kind == PrefixEvent::Kind::kChunkRemoved;
    Expect(of_chunk || event.kind == PrefixEvent::Kind::kCheckpointRemoved,
           "a recovery does more than remove");
    (of_chunk ? chunks : checkpoints).insert(PrefixMirror::Key(event.digest));
  }
  return {chunks, checkpoints};
}

bool PrefixModel::LosesPath(const PrefixSequence& sequence, const Removed& chunks) const {
  if (!sequence.in_index) return false;
  const int32_t count = sequence.published / geometry_.chunk_tokens;
  const auto path = absl::MakeConstSpan(sequence.digests).first(count);
  return std::any_of(path.begin(), path.end(), [&](const ChunkDigest& digest) {
    return chunks.count(PrefixMirror::Key(digest)) > 0;
  });
}

void PrefixModel::CheckAffected(const std::vector<Key>& affected, const Abandoned& abandoned) {
  if (!Expect(affected.size() == abandoned.sequences.size(), "how many sequences start over")) {
    return;
  }
  for (size_t i = 0; i < affected.size(); ++i) {
    const Admission& admission = abandoned.sequences[i];
    Expect(Key(admission.id.index, admission.id.generation) == affected[i],
           "which sequence starts over");
    StartOver(affected[i], admission);
  }
}

// As if it were allocated now, with the ids that it knows.
void PrefixModel::StartOver(Key key, const Admission& admission) {
  const PrefixSequence before = std::move(sequences_[key]);
  PrefixSequence sequence;
  sequence.salt = before.salt;
  sequence.key_ranges = before.key_ranges;
  sequence.marks = before.marks;
  sequence.refeed = before.refeed;
  sequence.family = ++fresh_;
  sequence.known = before.known;
  sequence.ids_ahead = before.ids_ahead;
  sequence.lost_rows = std::max(before.length, before.lost_rows);
  sequence.digests = before.digests;
  SetTokens(sequence, 0, absl::MakeConstSpan(before.tokens).first(before.known));
  PrefixMatch match;
  if (before.in_index && before.taint == 0) {
    match = ExpectMatch({.tokens = sequence.tokens,
                         .salt = sequence.salt,
                         .key_ranges = sequence.key_ranges,
                         .refeed = sequence.refeed});
  } else {
    sequence.in_index = false;
  }
  Expect(admission.match == match, "a sequence that starts over finds something else than is left");
  Expect(admission.length == match.resumed + match.skipped, "where a sequence starts over");
  if (match.approximate) sequence.taint = ++fresh_;
  Attach(sequence, 0, match.resumed, admission.length, match.matched);
  AddAttachedPlans(sequence, 0, match.matched, match.resumed);
  sequence.restores = true;
  sequences_[key] = std::move(sequence);
}

}  // namespace terrace::testing
