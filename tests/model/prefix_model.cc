// Carrying out all calls but steps: tokens, and what is computed from them.

#include "tests/model/prefix_model.h"

#include <algorithm>
#include <string>

namespace terrace::testing {
namespace {

PrefixModel::Key KeyOf(SequenceId id) { return {id.index, id.generation}; }

}  // namespace

PrefixModel::PrefixModel(const LedgerOptions& options) : options_(options) {
  for (int p = 0; p < geometry_.num_pools; ++p) {
    const PoolGeometry& pool = geometry_.pools[p];
    device_.emplace_back(geometry_.max_sequences,
                         std::vector<int32_t>(pool.blocks_per_sequence, -1));
    contents_.emplace_back(pool.capacity_blocks * pool.entries_per_block, 0);
    writers_.push_back(contents_.back());
    last_use_.emplace_back(pool.capacity_blocks, 0);
    use_.push_back({.capacity = pool.capacity_blocks, .free = pool.capacity_blocks});
    overdrawn_.push_back(0);
  }
  held_ = device_;
}

const PrefixSequence* PrefixModel::Find(SequenceId id) const {
  const auto found = sequences_.find(KeyOf(id));
  return found == sequences_.end() ? nullptr : &found->second;
}

PrefixSequence* PrefixModel::Edit(SequenceId id) {
  return const_cast<PrefixSequence*>(std::as_const(*this).Find(id));
}

PrefixSequence* PrefixModel::OfSequence(int32_t sequence_index) {
  const auto found = sequences_.lower_bound({sequence_index, 0});
  return found == sequences_.end() || found->first.first != sequence_index ? nullptr
                                                                           : &found->second;
}

// ---- Tokens and what is computed from them.

// Replaces the tokens from `begin` on.
void PrefixModel::SetTokens(PrefixSequence& sequence, int32_t begin,
                            absl::Span<const int32_t> tokens) {
  sequence.tokens.resize(begin);
  sequence.tokens.insert(sequence.tokens.end(), tokens.begin(), tokens.end());
  sequence.prefix.resize(begin + 1);
  sequence.prefix[0] = std::hash<std::string>()(sequence.salt);
  for (const int32_t token : tokens) {
    const int32_t position = static_cast<int32_t>(sequence.prefix.size()) - 1;
    uint64_t keys = 0;
    for (const KeyRange& range : sequence.key_ranges) {
      if (position < range.begin || position >= range.end) continue;
      keys += std::hash<std::string>()(std::string(range.key)) | 1;
    }
    sequence.prefix.push_back(Mix(sequence.prefix.back(), keys + static_cast<uint32_t>(token)));
  }
}

// The digest of a whole known chunk, behind those that it has.
ChunkDigest PrefixModel::NextChunk(const PrefixSequence& sequence) const {
  const int32_t chunk = geometry_.chunk_tokens;
  const int32_t begin = static_cast<int32_t>(sequence.digests.size()) * chunk;
  const ChunkDigest parent =
      sequence.digests.empty() ? RootDigest(sequence.salt) : sequence.digests.back();
  return NextDigest(KeyedDigest(parent, ChunkKeys(sequence.key_ranges, begin, begin + chunk)),
                    absl::MakeConstSpan(sequence.tokens).subspan(begin, chunk));
}

uint64_t PrefixModel::IdAt(const PrefixSequence& sequence, int32_t position, int32_t depth) const {
  return Mix(Mix(sequence.prefix[position + 1], depth), sequence.taint);
}

int32_t PrefixModel::DepthOf(const PrefixSequence& sequence, int32_t position) const {
  int32_t depth = geometry_.num_layers;
  if (geometry_.window_pool < 0) {  // an entry that ends here overlaps 4 tokens before its own
    const bool whole = geometry_.overlap_pool < 0 || position - 7 >= sequence.window_from;
    return whole || sequence.window_from == 0 ? depth : 0;
  }
  const int32_t begin = std::max(0, position - (geometry_.window_tokens - 1));
  // Beyond the reach of the hole that a refeed began with, all is exact.
  if (position > sequence.window_from + (geometry_.num_layers + 1) * geometry_.window_tokens) {
    return depth;
  }
  for (int32_t p = begin; p < position; ++p) {
    depth = std::min(depth, p < sequence.window_from ? 1 : 1 + sequence.depths[p]);
  }
  return depth;
}

// From `begin` on the sequence has the chunks before `write_from` from others, and the window
// before `resumed`; its next row is `length`.
void PrefixModel::Attach(PrefixSequence& sequence, int32_t begin, int32_t resumed, int32_t length,
                         int32_t write_from) {
  sequence.rows.resize(std::max(length, write_from));
  sequence.closers.resize(std::max(length, write_from));
  sequence.depths.resize(std::max(length, write_from));
  const uint64_t taint = std::exchange(sequence.taint, 0);  // others computed it
  for (int32_t p = begin; p < write_from; ++p) {
    const uint64_t id = IdAt(sequence, p, geometry_.num_layers);
    sequence.closers[p] = id;
    if (p < resumed) {
      sequence.rows[p] = id;
      sequence.depths[p] = geometry_.num_layers;
    }
  }
  sequence.taint = taint;
  sequence.window_from = length > resumed ? length : 0;
  sequence.own_from = length;
  sequence.kept_from = std::max(0, length - (geometry_.window_tokens - 1));
  sequence.length = length;
  sequence.draft_begin = length;
  sequence.write_from = write_from;
  sequence.published = std::max(sequence.published, write_from);
  sequence.announced = false;
  sequence.restores = length > 0;
}

void PrefixModel::Allocate(const SequenceRequest& request, const Admission& admission) {
  Expect(ever_.insert(KeyOf(admission.id)).second, "a handle was given twice");
  Expect(OfSequence(admission.id.index) == nullptr, "two live sequences have one sequence index");
  Expect(MayFind(request, admission.match), "a prompt found something else than is cached");
  const PrefixMatch& match = admission.match;
  Expect(admission.length == match.resumed + match.skipped, "where an admission goes on");
  PrefixSequence sequence;
  sequence.salt = std::string(request.salt.data(), request.salt.size());
  sequence.key_ranges.assign(request.key_ranges.begin(), request.key_ranges.end());
  sequence.marks.assign(request.marks.begin(), request.marks.end());
  SetTokens(sequence, 0, request.tokens);
  sequence.known = static_cast<int32_t>(request.tokens.size());
  sequence.digests =
      ChunkDigests(request.salt, request.tokens, geometry_.chunk_tokens, request.key_ranges);
  if (match.approximate) sequence.taint = ++fresh_;
  Attach(sequence, 0, match.resumed, admission.length, match.matched);
  sequence.refeed = request.refeed;
  sequence.prompt = sequence.known;
  sequence.reserve = request.reserve_tokens;
  sequence.ids_ahead = request.ids_ahead;
  sequence.family = ++fresh_;
  AddAttachedPlans(sequence, 0, match.matched, match.resumed);
  sequences_[KeyOf(admission.id)] = std::move(sequence);
}

void PrefixModel::Extend(SequenceId id, const PrefixMatch& match, const SequenceInfo& info) {
  PrefixSequence& sequence = *Edit(id);
  const int32_t before = sequence.length;
  const PrefixMatch all = ExpectExtension(id);
  const int32_t chunks = (before + all.matched - sequence.published) / geometry_.chunk_tokens;
  Expect(MayFind(all, match, chunks), "a sequence found something else than is cached");
  Expect(info.length == before + match.resumed + match.skipped, "where an extended match goes on");
  if (match.matched == 0) return;
  const int32_t matched = before + match.matched;
  const int32_t begin = before / geometry_.chunk_tokens * geometry_.chunk_tokens;
  AddAttachedPlans(sequence, begin, matched, match.resumed > 0 ? info.length : 0);
  if (info.length > before) {
    return Attach(sequence, begin, match.resumed > 0 ? info.length : 0, info.length, matched);
  }
  const PrefixSequence had = sequence;  // it feeds on from its own window, and writes less
  Attach(sequence, begin, 0, before, matched);
  sequence.window_from = had.window_from;
  sequence.own_from = had.own_from;
  sequence.kept_from = had.kept_from;
  sequence.restores = had.restores;
}

void PrefixModel::Fork(SequenceId id, SequenceId child) {
  Expect(ever_.insert(KeyOf(child)).second, "a handle was given twice");
  Expect(OfSequence(child.index) == nullptr, "two live sequences have one sequence index");
  PrefixSequence copy = *Find(id);
  SetTokens(copy, std::max(copy.known, copy.length), {});  // guesses are the parent's own
  copy.announced = false;
  copy.reserve = 0;
  sequences_[KeyOf(child)] = std::move(copy);
}

void PrefixModel::Guess(SequenceId id, absl::Span<const int32_t> tokens) {
  PrefixSequence& sequence = *Edit(id);
  SetTokens(sequence, std::max(sequence.known, sequence.length), tokens);
}

void PrefixModel::Commit(SequenceId id, absl::Span<const int32_t> tokens) {
  PrefixSequence& sequence = *Edit(id);
  actors_ = {KeyOf(id)};
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int32_t position = sequence.known + static_cast<int32_t>(i);
    Expect(position >= sequence.length || sequence.tokens[position] == tokens[i],
           "the test commits another id than it fed");
  }
  // Ids of rows that were fed stay; what else was guessed goes.
  const int32_t known = sequence.known + static_cast<int32_t>(tokens.size());
  if (known > sequence.length) {
    const int32_t old = std::max(0, sequence.length - sequence.known);
    SetTokens(sequence, sequence.known + old, tokens.subspan(old));
  }
  sequence.known = known;
  const int32_t chunk = geometry_.chunk_tokens;
  while (static_cast<int32_t>(sequence.digests.size() + 1) * chunk <= known) {
    sequence.digests.push_back(NextChunk(sequence));
  }
}

void PrefixModel::Truncate(SequenceId id, int32_t length) {
  PrefixSequence& sequence = *Edit(id);
  if (length == sequence.length) return;
  sequence.length = length;
  SetTokens(sequence, std::max(sequence.known, length), {});
}

void PrefixModel::Free(SequenceId id) {
  const auto found = sequences_.find(KeyOf(id));
  broken_families_.insert(found->second.family);
  freed_.emplace(id.index, std::move(found->second));  // the first one, if there were several
  sequences_.erase(found);
}

void PrefixModel::ClearPrefixes() {
  for (auto& [key, sequence] : sequences_) sequence.in_index = false;
}

}  // namespace terrace::testing
