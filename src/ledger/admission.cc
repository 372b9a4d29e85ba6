// What a prompt finds in the prefix index, where its sequence goes on, and how it takes hold of
// what it found.

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/ledger/ledger_impl.h"
#include "src/ledger/shortage.h"
#include "src/model/state_pages.h"

namespace terrace {

absl::Status Ledger::Impl::CheckRequest(const SequenceRequest& request) const {
  const size_t limit = geometry.max_context_tokens;
  if (request.tokens.size() > limit) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "a prompt of %d tokens is beyond max_context_tokens, %d", request.tokens.size(), limit));
  }
  const size_t whole_chunks = request.tokens.size() / geometry.chunk_tokens;
  if (!request.digests.empty() && request.digests.size() != whole_chunks) {
    return absl::InvalidArgumentError(absl::StrFormat("%d digests for a prompt of %d whole chunks",
                                                      request.digests.size(), whole_chunks));
  }
  if (request.refeed.max_tokens < 0 || request.refeed.approximate_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("refeed limits of %d and %d tokens: neither may be negative",
                        request.refeed.max_tokens, request.refeed.approximate_tokens));
  }
  if (request.time_to_live_ms < 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("time_to_live_ms is %d, not 0 or more", request.time_to_live_ms));
  }
  if (static_cast<int>(request.priority) >= kNumPriorities) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "priority is %d, not in 0..%d", static_cast<int>(request.priority), kNumPriorities - 1));
  }
  return absl::OkStatus();
}

void Ledger::Impl::Walk(ChunkId from, absl::Span<const int32_t> tokens,
                        absl::Span<const ChunkDigest> digests) {
  path.clear();
  const size_t chunk_tokens = geometry.chunk_tokens;
  // At least one token is left to feed.
  const size_t most = tokens.empty() ? 0 : (tokens.size() - 1) / chunk_tokens;
  for (size_t i = 0; i < most; ++i) {
    const absl::Span<const int32_t> chunk = tokens.subspan(i * chunk_tokens, chunk_tokens);
    const ChunkDigest digest = digests.empty() ? index.Hash(from, chunk) : digests[i];
    const std::optional<ChunkId> child = index.FindChild(from, digest, chunk);
    if (!child.has_value()) return;
    path.push_back(*child);
    from = *child;
  }
}

Ledger::Impl::Resume Ledger::Impl::FindPrompt(const SequenceRequest& request) {
  path.clear();
  const std::optional<ChunkId> root = index.FindRoot(request.salt);
  if (!root.has_value()) return {};
  Walk(*root, request.tokens, request.digests);
  return ResumeAt(0, 0, request.refeed);
}

// Three ways to the window at the end of the match: on from the rows that are there, from the last
// checkpoint, or from so far back that the rows of every layer come out exact, because a row
// reaches window_tokens - 1 back in each layer. The one that feeds the fewest tokens again is
// taken. Without a window no row reaches back, but the first entry to be written overlaps the
// tokens before it.
Ledger::Impl::Resume Ledger::Impl::ResumeAt(int32_t length, int32_t first_chunk,
                                            const RefeedLimits& limits) const {
  const int32_t chunk_tokens = geometry.chunk_tokens;
  Resume resume;
  resume.chunks = static_cast<int32_t>(path.size());
  int32_t end = (first_chunk + resume.chunks) * chunk_tokens;
  if (end <= length) return {.length = length};

  int32_t checkpoint_end = length;
  for (int32_t i = resume.chunks; i > 0; --i) {
    const int32_t boundary = (first_chunk + i) * chunk_tokens;
    if (boundary <= length) break;
    resume.checkpoint = index.checkpoint(path[i - 1]);
    if (!resume.checkpoint.has_value()) continue;
    checkpoint_end = boundary;
    break;
  }
  const auto refeed_from = [&](int64_t tokens) {
    const int64_t block = has_window() ? geometry.pools[geometry.window_pool].tokens_per_block : 0;
    const int64_t step = std::max<int64_t>(kHcaRatio, block);
    return static_cast<int32_t>(std::max<int64_t>(0, end - tokens) / step * step);
  };
  const int64_t of_windows = int64_t{geometry.num_layers} * (geometry.window_tokens - 1);
  const int32_t exact = refeed_from(has_window() ? of_windows : has_overlap() ? kCsaRatio : 0);
  resume.length = std::max(checkpoint_end, exact);
  if (limits.approximate_tokens > 0) {
    const int32_t approximate = refeed_from(limits.approximate_tokens);
    resume.match.approximate = approximate > resume.length;
    resume.length = std::max(resume.length, approximate);
  }
  if (length == 0 && end - resume.length > limits.max_tokens) {
    resume.match.approximate = false;
    resume.length = end = checkpoint_end;
    resume.chunks = end / chunk_tokens - first_chunk;
  }
  const bool at_checkpoint = resume.length == checkpoint_end;
  if (!at_checkpoint) resume.checkpoint.reset();
  resume.match.matched = end - length;
  resume.match.refed = end - resume.length;
  (at_checkpoint ? resume.match.resumed : resume.match.skipped) = resume.length - length;
  return resume;
}

// Takes references on all that the sequence uses from now on: nothing of it can be evicted.
void Ledger::Impl::Attach(Sequence& sequence, int32_t sequence_index, const Resume& resume) {
  SequencePrefix& prefix = sequence.prefix;
  for (int32_t i = 0; i < resume.chunks; ++i) {
    index.Acquire(path[i], prefix.priority);
    const int32_t chunk = prefix.chunks + i;
    const absl::Span<const BlockId> blocks = index.blocks(path[i]);
    for (size_t k = 0; k < full_pools.size(); ++k) {
      const int p = full_pools[k];
      BlockId& place = tables[p].Row(sequence_index)[chunk];
      if (chunk < sequence.chunks) FreeBlock(p, place);  // its own, not settled yet
      place = blocks[k];
      TERRACE_CHECK_EQ(pools[p].AddReference(place).ok(), true);
    }
    prefix.tip = path[i];
  }
  prefix.chunks += resume.chunks;
  sequence.chunks = std::max(sequence.chunks, prefix.chunks);
  sequence.write_from = prefix.chunks * geometry.chunk_tokens;
  sequence.announced = false;
  if (resume.length > sequence.length) AttachWindow(sequence, sequence_index, resume);
  sequence.length = resume.length;
  sequence.draft_begin = resume.length;
}

void Ledger::Impl::AttachWindow(Sequence& sequence, int32_t sequence_index, const Resume& resume) {
  DropRestore(sequence);
  sequence.restores = true;
  if (!has_window()) return;
  const int window = geometry.window_pool;
  FreeWindow(sequence_index, sequence);
  if (!resume.checkpoint.has_value()) {
    const int32_t begin = resume.length / geometry.pools[window].tokens_per_block;
    sequence.window.current = {begin, begin};
    sequence.rows_from = resume.length;
    return;
  }
  const BlockRange range = CheckpointBlocks(geometry, resume.length);
  const absl::Span<const BlockId> blocks = index.window_blocks(*resume.checkpoint);
  for (int32_t i = 0; i < range.size(); ++i) {
    tables[window].Row(sequence_index)[range.begin + i] = blocks[i];
    TERRACE_CHECK_EQ(pools[window].AddReference(blocks[i]).ok(), true);
  }
  sequence.window.current = range;
  sequence.rows_from = WindowBegin(geometry, resume.length);
  if (has_overlap()) {
    sequence.restore_block = index.overlap_block(*resume.checkpoint);
    TERRACE_CHECK_EQ(pools[geometry.overlap_pool].AddReference(*sequence.restore_block).ok(), true);
  }
  index.Pin(*resume.checkpoint);
  RollTo(sequence, resume.checkpoint, /*keep=*/true);
}

void Ledger::Impl::CountMatch(const PrefixMatch& match) {
  figures.matched_tokens += match.matched;
  figures.resumed_tokens += match.resumed;
  figures.skipped_tokens += match.skipped;
  figures.refed_tokens += match.refed;
}

absl::StatusOr<Admission> Ledger::AllocateSequence(const SequenceRequest& request) {
  Impl& impl = *impl_;
  if (absl::Status status = impl.CheckRequest(request); !status.ok()) return status;
  const int32_t known = static_cast<int32_t>(request.tokens.size());
  for (const int p : impl.full_pools) {
    const int32_t chunks = impl.ChunksOf(known);
    if (chunks > impl.pools[p].capacity()) return LargerThanPool(impl.geometry, p, chunks);
  }
  const std::optional<SequenceId> id = impl.sequences.Add();
  if (!id.has_value()) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "all %d sequence indices are taken; retry when a sequence has finished", num_sequences()));
  }
  Sequence& sequence = *impl.Find(*id);
  sequence.known = known;
  impl.figures.prompt_tokens += known;
  if (!impl.reuses) return Admission{.id = *id};

  SequencePrefix& prefix = sequence.prefix;
  prefix.in_index = true;
  prefix.priority = request.priority;
  prefix.time_to_live_ms = request.time_to_live_ms;
  prefix.prompt_tokens = known;
  const Impl::Resume resume = impl.FindPrompt(request);
  prefix.tip = impl.index.AcquireRoot(request.salt);
  if (resume.chunks > 0) impl.Attach(sequence, id->index, resume);
  sequence.approximate = resume.match.approximate;
  prefix.publishes = !sequence.approximate;
  if (prefix.publishes) {
    prefix.tail.Append(request.tokens.subspan(prefix.chunks * impl.geometry.chunk_tokens));
  }
  impl.figures.lookups += known > impl.geometry.chunk_tokens;
  impl.figures.hits += resume.match.matched > 0;
  impl.CountMatch(resume.match);
  return Admission{.id = *id, .length = sequence.length, .match = resume.match};
}

absl::StatusOr<PrefixMatch> Ledger::Probe(const SequenceRequest& request) const {
  if (absl::Status status = impl_->CheckRequest(request); !status.ok()) return status;
  if (!impl_->reuses) return PrefixMatch{};
  return impl_->FindPrompt(request).match;
}

absl::StatusOr<PrefixMatch> Ledger::ExtendMatch(SequenceId id) {
  Impl& impl = *impl_;
  Sequence* const sequence = impl.Find(id);
  if (sequence == nullptr) return impl.NotFound(id);
  if (sequence->undecided_drafts() > 0) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the sequence of sequence %d has %d undecided drafts; Commit or Truncate them first",
        id.index, sequence->undecided_drafts()));
  }
  SequencePrefix& prefix = sequence->prefix;
  if (!prefix.publishes) return PrefixMatch{};
  impl.Walk(prefix.tip, prefix.tail.Part(0, prefix.tail.size()), {});
  const Impl::Resume resume = impl.ResumeAt(sequence->length, prefix.chunks, {});
  if (resume.chunks == 0) return PrefixMatch{};
  prefix.tail.DropFront(int64_t{resume.chunks} * impl.geometry.chunk_tokens);
  impl.Attach(*sequence, id.index, resume);
  impl.CountMatch(resume.match);
  return resume.match;
}

absl::StatusOr<SequenceId> Ledger::Fork(SequenceId id) {
  Impl& impl = *impl_;
  if (impl.Find(id) == nullptr) return impl.NotFound(id);
  if (impl.Find(id)->length > impl.Find(id)->known) {
    return absl::FailedPreconditionError(absl::StrFormat(
        "the sequence of sequence %d has %d rows and %d token ids; Commit or Truncate "
        "before it forks",
        id.index, impl.Find(id)->length, impl.Find(id)->known));
  }
  const std::optional<SequenceId> child_id = impl.sequences.Add();
  if (!child_id.has_value()) {
    return absl::ResourceExhaustedError(absl::StrFormat(
        "all %d sequence indices are taken; retry when a sequence has finished", num_sequences()));
  }
  Sequence& parent = *impl.Find(id);
  Sequence& child = *impl.Find(*child_id);
  const uint32_t generation = child.generation;
  child = parent;
  child.generation = generation;
  child.last_batch = 0;
  child.announced = false;
  child.prefix.rolling.reset();
  parent.shares_last_blocks = child.shares_last_blocks = true;
  impl.ForEachBlockOf(id.index, [&](int pool, int32_t, int32_t place, BlockId block) {
    impl.tables[pool].Row(child_id->index)[place] = block;
    TERRACE_CHECK_EQ(impl.pools[pool].AddReference(block).ok(), true);
  });
  if (child.restore_block.has_value()) {
    absl::Status status = impl.pools[impl.geometry.overlap_pool].AddReference(*child.restore_block);
    TERRACE_CHECK_EQ(status.ok(), true);
  }
  if (child.prefix.in_index) impl.index.AcquirePath(child.prefix.tip, child.prefix.priority);
  ++impl.figures.forks;
  return *child_id;
}

}  // namespace terrace
