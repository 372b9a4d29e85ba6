#include "tools/terrace/verify/verifier.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "src/base/check.h"
#include "src/base/status_macros.h"
#include "tools/terrace/engine/layer_places.h"
#include "tools/terrace/verify/expected_entries.h"

namespace terrace::tools {
namespace {

using internal::ThreadPool;

// What one thread compares at a time: some tens of microseconds, for references a millisecond.
constexpr int64_t kPieceRows = 64;
constexpr int64_t kPieceReferences = 2;

}  // namespace

VerifierStats& VerifierStats::operator+=(const VerifierStats& other) {
  sampled_steps += other.sampled_steps;
  verified_rows += other.verified_rows;
  absent_rows += other.absent_rows;
  corrupt_rows += other.corrupt_rows;
  verified_entries += other.verified_entries;
  largest_entry_error = std::max(largest_entry_error, other.largest_entry_error);
  for (int c = 0; c < kNumRowClasses; ++c) verified_by_class[c] += other.verified_by_class[c];
  first_corrupt.insert(first_corrupt.end(), other.first_corrupt.begin(), other.first_corrupt.end());
  if (first_corrupt.size() > kMostReported) first_corrupt.resize(kMostReported);
  return *this;
}

absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Create(
    Store* store, const ModelSpec& model, const PrefixKeys* keys,
    absl::Span<const std::vector<float>> rope_tables, const CompressorWeights* weights,
    ThreadPool* threads, const VerifierOptions& options) {
  std::unique_ptr<Verifier> verifier(
      new Verifier(store, model, keys, rope_tables, weights, threads, options));
  TERRACE_RETURN_IF_ERROR(verifier->Build());
  return verifier;
}

Verifier::Verifier(Store* store, const ModelSpec& model, const PrefixKeys* keys,
                   absl::Span<const std::vector<float>> rope_tables,
                   const CompressorWeights* weights, ThreadPool* threads,
                   const VerifierOptions& options)
    : store_(store),
      model_(model),
      keys_(*keys),
      rope_tables_(rope_tables),
      weights_(*weights),
      threads_(threads),
      options_(options),
      sampler_(model, options.rate, options.seed) {}

absl::Status Verifier::Build() {
  const LayerRange range = store_->layers();
  for (int layer = range.first; layer < range.first + range.count; ++layer) {
    const int32_t pool = FullPool(model_, layer).value();
    auto kind = std::find_if(kinds_.begin(), kinds_.end(),
                             [&](const LayerKind& kind) { return kind.full_pool == pool; });
    if (kind == kinds_.end()) kind = kinds_.insert(kind, {.full_pool = pool});
    kind->layers.push_back(layer);
  }
  int64_t chosen = Sampler::kMostQueries;
  int64_t rows = 0;
  for (const LayerKind& kind : kinds_) {
    rows += Sampler::kMostQueries * int64_t{model_.window_tokens};
    if (kind.full_pool < 0) continue;
    chosen += Sampler::kMostQueries * int64_t{kTopK};
    rows += Sampler::kMostQueries * int64_t{2 * kTopK + kMostVisible};
  }
  Backend& backend = store_->backend();
  TERRACE_RETURN_IF_ERROR(device_chosen_.Allocate(backend, chosen, Stream{}));
  return out_.Allocate(backend, rows * kLatentChannels, Stream{});
}

absl::Status Verifier::CheckStep(absl::Span<const StepSequence> sequences, Stream stream) {
  if (!sampler_.NextStep()) return absl::OkStatus();
  reads_.clear();
  expected_.clear();
  out_used_ = 0;
  TERRACE_RETURN_IF_ERROR(Choose(sequences, stream));
  for (const LayerKind& kind : kinds_) {
    if (PlaceOf(model_, kind.layer, PoolKind::kWindow) != nullptr) {
      TERRACE_RETURN_IF_ERROR(ReadWindow(kind.layer, sequences, stream));
    }
    if (kind.full_pool < 0) continue;
    TERRACE_RETURN_IF_ERROR(ReadTopK(kind, PlaneKind::kLatent, sequences, stream));
    PlaneKind last_plane = PlaneKind::kLatent;
    if (model_.pools[kind.full_pool].planes.size() > 1) {
      last_plane = PlaneKind::kIndexer;
      TERRACE_RETURN_IF_ERROR(ReadTopK(kind, PlaneKind::kIndexer, sequences, stream));
    }
    if (stats_.sampled_steps % 4 == 0) {
      TERRACE_RETURN_IF_ERROR(ReadVisible(kind, last_plane, sequences, stream));
    }
  }
  ++stats_.sampled_steps;
  return Compare(sequences, stream);
}

// Decides all that this step reads, and uploads it at once.
absl::Status Verifier::Choose(absl::Span<const StepSequence> sequences, Stream stream) {
  sampler_.PickQueries(sequences, &queries_);
  chosen_.clear();
  for (const SampledQuery& query : queries_) chosen_.push_back(query.token_row);
  for (LayerKind& kind : kinds_) {
    kind.layer = kind.layers[stats_.sampled_steps % kind.layers.size()];
    if (kind.full_pool < 0) continue;
    kind.entries_at = static_cast<int64_t>(chosen_.size());
    chosen_.resize(chosen_.size() + queries_.size() * kTopK, -1);
    int32_t* entries = chosen_.data() + kind.entries_at;
    const int32_t most = EntriesPerQuery(kind, kTopK);
    for (const SampledQuery& query : queries_) {
      sampler_.PickEntries(model_.pools[kind.full_pool], sequences[query.sequence_index], query,
                           absl::MakeSpan(entries, most));
      entries += kTopK;
    }
  }
  return store_->backend().Upload(device_chosen_.data(), chosen_.data(),
                                  static_cast<int64_t>(chosen_.size() * sizeof(int32_t)), stream);
}

RowsOut Verifier::StartRead(int32_t layer, int32_t pool, PlaneKind plane, int32_t rows) {
  const PoolKind kind = model_.pools[pool].kind;
  const int32_t plane_index = static_cast<int32_t>(plane);
  const ContentPlane place = {pool, PlaceOf(model_, layer, kind)->index, plane_index};
  const int32_t channels = LayoutOf(model_.pools[pool].planes[plane_index].format).channels;
  reads_.push_back({.layer = layer,
                    .plane = place,
                    .first = static_cast<int64_t>(expected_.size()),
                    .begin = out_used_,
                    .channels = channels,
                    .weights = weights_.Of(place)});
  out_used_ += static_cast<int64_t>(queries_.size()) * rows * channels;
  TERRACE_CHECK_LE(out_used_, out_.size());
  return {.data = out_.data() + reads_.back().begin};
}

absl::Status Verifier::ReadWindow(int32_t layer, absl::Span<const StepSequence> sequences,
                                  Stream stream) {
  const int32_t pool = PlaceOf(model_, layer, PoolKind::kWindow)->pool;
  const int32_t rows = model_.window_tokens;
  const RowsOut out = StartRead(layer, pool, PlaneKind::kLatent, rows);
  for (const SampledQuery& query : queries_) {
    const StepSequence& part = sequences[query.sequence_index];
    const int32_t oldest = std::max(0, query.position - rows + 1);
    for (int32_t position = oldest; position < oldest + rows; ++position) {
      if (position <= query.position &&
          MustHoldWindowRow(model_, options_.store_whole_chunk, part, position)) {
        Expect(query, part, position,
               sampler_.ClassOfWindowRow(model_.pools[pool], part, query, position));
      } else {
        ExpectNothing(query, position);
      }
    }
  }
  return store_->GatherWindow(layer, Asked(), out, stream);
}

absl::Status Verifier::ReadTopK(const LayerKind& kind, PlaneKind plane,
                                absl::Span<const StepSequence> sequences, Stream stream) {
  const RowsOut out = StartRead(kind.layer, kind.full_pool, plane, kTopK);
  const int32_t* entry = chosen_.data() + kind.entries_at;
  for (const SampledQuery& query : queries_) {
    for (int32_t i = 0; i < kTopK; ++i)
      ExpectEntry(query, sequences[query.sequence_index], *entry++);
  }
  const TopK top_k{.entries = device_chosen_.data() + kind.entries_at, .k = kTopK};
  return store_->GatherTopK(kind.layer, Asked(), top_k, out, stream, plane);
}

absl::Status Verifier::ReadVisible(const LayerKind& kind, PlaneKind plane,
                                   absl::Span<const StepSequence> sequences, Stream stream) {
  const int32_t most = EntriesPerQuery(kind, kMostVisible);
  const RowsOut out = StartRead(kind.layer, kind.full_pool, plane, most);
  for (const SampledQuery& query : queries_) {
    const int32_t in_sight = EntriesInSight(model_.pools[kind.full_pool], query.position);
    for (int32_t entry = 0; entry < most; ++entry) {
      ExpectEntry(query, sequences[query.sequence_index], entry < in_sight ? entry : -1);
    }
  }
  return store_->GatherVisible(kind.layer, Asked(), most, out, stream, plane);
}

int32_t Verifier::EntriesPerQuery(const LayerKind& kind, int32_t most) const {
  const LayerPool& place = *PlaceOf(model_, kind.layer, PoolKind::kFull);
  const bool compressed = weights_.Of({place.pool, place.index, 0}) != nullptr;
  return compressed ? std::min(most, kMostReferences) : most;
}

Queries Verifier::Asked() const {
  return {.token_rows = device_chosen_.data(), .count = static_cast<int32_t>(queries_.size())};
}

void Verifier::ExpectEntry(const SampledQuery& query, const StepSequence& part, int32_t entry) {
  const PoolSpec& pool = model_.pools[reads_.back().plane.pool];
  if (entry < 0) return ExpectNothing(query, entry);
  Expect(query, part, entry * pool.ratio, sampler_.ClassOfEntry(pool, part, entry));
}

void Verifier::Expect(const SampledQuery& query, const StepSequence& part, int32_t position,
                      RowClass row_class) {
  Read& read = reads_.back();
  const PoolSpec& pool = model_.pools[read.plane.pool];
  expected_.push_back({.seed = ExpectedSeed(pool, read.plane, keys_, part, position),
                       .at = read.begin + read.count++ * read.channels,
                       .position = position,
                       .sequence_index = query.sequence_index,
                       .row_class = row_class});
  ++stats_.verified_rows;
  if (read.weights != nullptr) ++stats_.verified_entries;
  ++stats_.verified_by_class[static_cast<int>(row_class)];
}

void Verifier::ExpectNothing(const SampledQuery& query, int32_t position) {
  Read& read = reads_.back();
  expected_.push_back({.at = read.begin + read.count++ * read.channels,
                       .position = position,
                       .sequence_index = query.sequence_index,
                       .absent = true});
  ++stats_.absent_rows;
}

absl::Status Verifier::Compare(absl::Span<const StepSequence> sequences, Stream stream) {
  const uint16_t* rows = out_.data();
  if (store_->backend().name() != "host") {
    downloaded_.resize(out_.size());
    TERRACE_RETURN_IF_ERROR(store_->backend().Download(
        downloaded_.data(), rows, out_used_ * int64_t{sizeof(uint16_t)}, stream));
    rows = downloaded_.data();
  }
  for (const Read& read : reads_) {
    std::vector<Mismatch> mismatches;
    const int64_t piece = read.weights == nullptr ? kPieceRows : kPieceReferences;
    threads_->ParallelFor(read.count, piece, [&](int64_t begin, int64_t end) {
      CompareSome(read, sequences, begin, end, rows, &mismatches);
    });
    stats_.corrupt_rows += static_cast<int64_t>(mismatches.size());
    std::sort(mismatches.begin(), mismatches.end(),
              [](const Mismatch& a, const Mismatch& b) { return a.row < b.row; });
    for (const Mismatch& mismatch : mismatches) {
      if (stats_.first_corrupt.size() == VerifierStats::kMostReported) break;
      const ExpectedRow& row = expected_[mismatch.row];
      stats_.first_corrupt.push_back(Describe(read, row, mismatch, sequences[row.sequence_index]));
    }
  }
  return absl::OkStatus();
}

void Verifier::CompareSome(const Read& read, absl::Span<const StepSequence> sequences,
                           int64_t begin, int64_t end, const uint16_t* rows,
                           std::vector<Mismatch>* mismatches) {
  const PlaneSpec& plane = model_.pools[read.plane.pool].planes[read.plane.plane];
  const float* rope =
      plane.rope_before_store ? rope_tables_[model_.layers[read.layer].rope].data() : nullptr;
  const int64_t first = read.first + begin;
  const auto expected = absl::MakeConstSpan(expected_).subspan(first, end - begin);
  std::vector<Mismatch> found;
  double largest = 0;
  if (read.weights == nullptr) {
    CompareRows(plane.format, rope, expected, rows, &found);
  } else {
    const EntrySource source = {plane.format, rope, read.plane, read.weights};
    largest = CompareEntries(source, keys_, sequences, expected, rows, &found);
  }
  if (found.empty() && largest == 0) return;
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.largest_entry_error = std::max(stats_.largest_entry_error, largest);
  for (Mismatch& mismatch : found) {
    mismatch.row += first;
    mismatches->push_back(mismatch);
  }
}

std::string Verifier::Describe(const Read& read, const ExpectedRow& row, const Mismatch& mismatch,
                               const StepSequence& part) const {
  const std::string what =
      row.absent ? "nothing is stored" : absl::StrFormat("%s row", RowClassName(row.row_class));
  const std::string error =
      mismatch.error == 0 ? "" : absl::StrFormat(", %.1f times the tolerance", mismatch.error);
  return absl::StrFormat(
      "request %d (sequence %d), position %d, layer %d, %s %s, %s: %d of %d channels differ, "
      "channel %d is 0x%04x and not 0x%04x%s",
      part.request, part.sequence, row.position, read.layer, model_.pools[read.plane.pool].name,
      read.plane.plane == 0 ? "latent" : "indexer", what, mismatch.channels, read.channels,
      mismatch.channel, mismatch.found, mismatch.expected, error);
}

}  // namespace terrace::tools
