// What a prompt finds in the prefix cache, where its sequence goes on, and how it takes hold of
// what it found.

#include <algorithm>
#include <limits>
#include <utility>

#include "src/base/check.h"
#include "src/ledger/prefix_cache.h"
#include "src/model/state_pages.h"

namespace terrace::internal {
namespace {

void Add(const PrefixMatch& more, PrefixMatch* match) {
  match->matched += more.matched;
  match->resumed += more.resumed;
  match->skipped += more.skipped;
  match->refed += more.refed;
}

}  // namespace

PrefixMatch PrefixCache::Probe(const SequenceRequest& request) const {
  return enabled_ ? FindPrompt(request).match : PrefixMatch{};
}

PrefixMatch PrefixCache::Admit(Sequence& sequence, const SequenceRequest& request) {
  SequencePrefix& prefix = sequence.prefix;
  prefix.prompt_tokens = sequence.known;
  prefix.returning = request.returning;
  if (!enabled_) return {};
  prefix.in_index = true;
  prefix.priority = request.priority;
  prefix.time_to_live_ms = request.time_to_live_ms;
  prefix.refeed = request.refeed;
  prefix.keys = RangeKeys::Make(request.key_ranges);
  prefix.marks =
      request.marks.empty() ? nullptr : Marks::Make(request.marks, geometry_.chunk_tokens);
  const Resume resume = FindPrompt(request);
  prefix.tip = index_.AcquireRoot(request.salt);
  if (resume.path.chunks > 0) Attach(sequence, resume);
  sequence.approximate = resume.match.approximate;
  prefix.publishes = !sequence.approximate;
  if (prefix.publishes) {
    prefix.tail.Append(request.tokens.subspan(prefix.chunks * geometry_.chunk_tokens));
  }
  prefix.uncounted = resume.match;
  return resume.match;
}

PrefixMatch PrefixCache::Extend(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  if (!prefix.publishes) return {};
  const Path path = FindPath(prefix);
  const Resume resume = ResumeAt(sequence.length, prefix.chunks, path, {});
  if (resume.path.chunks == 0) return {};
  prefix.tail.DropFront(int64_t{resume.path.chunks} * geometry_.chunk_tokens);
  Attach(sequence, resume);
  if (prefix.counted) {
    CountMatch(resume.match, prefix.returning);
  } else {
    Add(resume.match, &prefix.uncounted);  // part of its look-up
  }
  return resume.match;
}

// ---- Looking

// What later plans computed is not matched.
uint64_t PrefixCache::last_matched_plan() const {
  const bool all = options_.prefix.match == MatchPolicy::kAppended;
  return all ? std::numeric_limits<uint64_t>::max() : pools_.named_retired();
}

std::optional<CheckpointId> PrefixCache::MatchedCheckpoint(ChunkId chunk) const {
  const std::optional<CheckpointId> checkpoint = index_.checkpoint(chunk);
  if (checkpoint.has_value() && index_.plan(*checkpoint) > last_matched_plan()) return std::nullopt;
  return checkpoint;
}

// The chunks from `from` on down that `tokens` spell, of a path that has `chunks_before` already.
PrefixCache::Path PrefixCache::FindPath(ChunkId from, int32_t chunks_before,
                                        absl::Span<const int32_t> tokens,
                                        absl::Span<const ChunkDigest> digests,
                                        absl::Span<const KeyRange> ranges) const {
  Path path{.tip = from};
  const size_t chunk_tokens = geometry_.chunk_tokens;
  // At least one token is left to feed.
  const size_t most = tokens.empty() ? 0 : (tokens.size() - 1) / chunk_tokens;
  for (size_t i = 0; i < most; ++i) {
    const absl::Span<const int32_t> chunk = tokens.subspan(i * chunk_tokens, chunk_tokens);
    const std::string keys = KeysOfChunk(ranges, chunks_before + path.chunks);
    const ChunkDigest digest = digests.empty() ? index_.Hash(path.tip, chunk, keys) : digests[i];
    const std::optional<ChunkId> child = index_.FindChild(path.tip, digest, chunk, keys);
    if (!child.has_value() || index_.plan(*child) > last_matched_plan()) break;
    path.tip = *child;
    ++path.chunks;
  }
  return path;
}

// What the sequence's own tail finds below its path.
PrefixCache::Path PrefixCache::FindPath(const SequencePrefix& prefix) const {
  return FindPath(prefix.tip, prefix.chunks, prefix.tail.Part(0, prefix.tail.size()), {},
                  RangesOf(prefix.keys));
}

std::string PrefixCache::KeysOfChunk(absl::Span<const KeyRange> ranges, int32_t chunk) const {
  if (ranges.empty()) return {};
  const int32_t begin = chunk * geometry_.chunk_tokens;
  return ChunkKeys(ranges, begin, begin + geometry_.chunk_tokens);
}

PrefixCache::Resume PrefixCache::FindPrompt(const SequenceRequest& request) const {
  const std::optional<ChunkId> root = index_.FindRoot(request.salt);
  if (!root.has_value()) return {};
  const Path path = FindPath(*root, 0, request.tokens, request.digests, request.key_ranges);
  return ResumeAt(0, 0, path, request.refeed);
}

// Where a sequence of `length` rows goes on, whose first `chunks_before` chunks come before `path`.
//
// There are three ways to the window at the end of the match: on from the rows that are there, from
// the last checkpoint, or from so far back that the rows of every layer come out exact, because a
// row reaches window_tokens - 1 back in each layer. The one that refeeds the fewest tokens is
// taken. Without a window no row reaches back, but the first entry to be written overlaps the
// tokens before it.
PrefixCache::Resume PrefixCache::ResumeAt(int32_t length, int32_t chunks_before, Path path,
                                          const RefeedLimits& limits) const {
  const int32_t chunk_tokens = geometry_.chunk_tokens;
  Resume resume{.path = path};
  int32_t end = (chunks_before + path.chunks) * chunk_tokens;
  if (end <= length) return {.length = length};

  Path to_checkpoint = path;
  for (; to_checkpoint.chunks > 0; --to_checkpoint.chunks) {
    if ((chunks_before + to_checkpoint.chunks) * chunk_tokens <= length) break;
    resume.checkpoint = MatchedCheckpoint(to_checkpoint.tip);
    if (resume.checkpoint.has_value()) break;
    to_checkpoint.tip = index_.parent(to_checkpoint.tip);
  }
  const int32_t checkpoint_end = resume.checkpoint.has_value()
                                     ? (chunks_before + to_checkpoint.chunks) * chunk_tokens
                                     : length;
  const int64_t of_windows = int64_t{geometry_.num_layers} * (geometry_.window_tokens - 1);
  const int64_t exact = pools_.has_window() ? of_windows : pools_.has_overlap() ? kCsaRatio : 0;
  resume.length = std::max(checkpoint_end, RefeedFrom(end, exact));
  if (limits.approximate_tokens > 0) {
    const int32_t approximate = RefeedFrom(end, limits.approximate_tokens);
    resume.match.approximate = approximate > resume.length;
    resume.length = std::max(resume.length, approximate);
  }
  if (length == 0 && end - resume.length > limits.max_tokens) {
    resume.match.approximate = false;
    resume.length = end = checkpoint_end;
    resume.path = to_checkpoint;
  }
  const bool at_checkpoint = resume.length == checkpoint_end;
  if (!at_checkpoint) resume.checkpoint.reset();
  resume.match.matched = end - length;
  resume.match.refed = end - resume.length;
  (at_checkpoint ? resume.match.resumed : resume.match.skipped) = resume.length - length;
  return resume;
}

// Where to begin, so that `tokens` before `end` are refed at least: with a group of every ratio and
// a window block.
int32_t PrefixCache::RefeedFrom(int32_t end, int64_t tokens) const {
  const int64_t block =
      pools_.has_window() ? geometry_.pools[pools_.window_pool()].tokens_per_block : 0;
  const int64_t step = std::max<int64_t>(kHcaRatio, block);
  return static_cast<int32_t>(std::max<int64_t>(0, end - tokens) / step * step);
}

// ---- Attaching

// Takes references on all that the sequence uses from now on: nothing of it can be evicted.
void PrefixCache::Attach(Sequence& sequence, const Resume& resume) {
  AttachChunks(sequence, resume.path);
  if (resume.length > sequence.length) AttachWindow(sequence, resume);
  sequence.length = resume.length;
  sequence.draft_begin = resume.length;
}

void PrefixCache::AttachChunks(Sequence& sequence, const Path& path) {
  SequencePrefix& prefix = sequence.prefix;
  const int32_t end = prefix.chunks + path.chunks;
  // Its own of these chunks are not settled yet.
  const BlockRange own = {prefix.chunks, std::min(end, sequence.chunks)};
  for (const int p : pools_.full_pools()) {
    pools_.Free(p, sequence, own);
  }
  index_.AcquireBelow(prefix.tip, path.tip, prefix.priority);
  ChunkId chunk = path.tip;
  for (int32_t i = end - 1; i >= prefix.chunks; --i) {
    const absl::Span<const BlockId> blocks = index_.blocks(chunk);
    for (size_t k = 0; k < blocks.size(); ++k) {
      const int p = pools_.full_pools()[k];
      pools_.table(p).Of(sequence.index)[i] = blocks[k];
      pools_.AddReference(p, blocks[k]);
    }
    sequence.plan = std::max(sequence.plan, index_.plan(chunk));
    chunk = index_.parent(chunk);
  }
  prefix.tip = path.tip;
  prefix.chunks = end;
  sequence.chunks = std::max(sequence.chunks, end);
  sequence.write_from = end * geometry_.chunk_tokens;
  sequence.tables_sent = false;
}

void PrefixCache::AttachWindow(Sequence& sequence, const Resume& resume) {
  pools_.DropRestore(sequence);
  sequence.restores = true;
  if (!pools_.has_window()) return;
  const int window = pools_.window_pool();
  pools_.FreeWindow(sequence);
  if (!resume.checkpoint.has_value()) {
    const int32_t begin = resume.length / geometry_.pools[window].tokens_per_block;
    sequence.window.current = {begin, begin};
    sequence.rows_from = resume.length;
    return;
  }
  const BlockRange range = CheckpointBlocks(geometry_, resume.length);
  const absl::Span<const BlockId> blocks = index_.window_blocks(*resume.checkpoint);
  for (int32_t i = 0; i < range.size(); ++i) {
    pools_.table(window).Of(sequence.index)[range.begin + i] = blocks[i];
    pools_.AddReference(window, blocks[i]);
  }
  sequence.window.current = range;
  sequence.plan = std::max(sequence.plan, index_.plan(*resume.checkpoint));
  sequence.rows_from = WindowBegin(geometry_, resume.length);
  if (pools_.has_overlap()) {
    sequence.restore_block = index_.overlap_block(*resume.checkpoint);
    pools_.AddReference(pools_.overlap_pool(), *sequence.restore_block);
  }
  index_.Pin(*resume.checkpoint);
  SetRolling(sequence, resume.checkpoint, /*keep=*/true);
}

// ---- Counting

void PrefixCache::CountRequest(Sequence& sequence) {
  SequencePrefix& prefix = sequence.prefix;
  if (std::exchange(prefix.counted, true)) return;
  const bool hits = prefix.uncounted.matched > 0;
  if (prefix.returning) {
    ++figures_.returns;
    figures_.return_hits += hits;
    figures_.return_prompt_tokens += prefix.prompt_tokens;
  } else {
    figures_.lookups += enabled_ && prefix.prompt_tokens > geometry_.chunk_tokens;
    figures_.hits += hits;
    figures_.prompt_tokens += prefix.prompt_tokens;
  }
  CountMatch(prefix.uncounted, prefix.returning);
}

void PrefixCache::CountMatch(const PrefixMatch& match, bool returning) {
  if (returning) {
    figures_.return_matched_tokens += match.matched;
    figures_.return_refed_tokens += match.refed;
    return;
  }
  figures_.matched_tokens += match.matched;
  figures_.resumed_tokens += match.resumed;
  figures_.skipped_tokens += match.skipped;
  figures_.refed_tokens += match.refed;
}

}  // namespace terrace::internal
