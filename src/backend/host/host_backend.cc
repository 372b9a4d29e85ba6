#include "src/backend/host/host_backend.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "src/backend/byte_checks.h"
#include "src/backend/host/host_compress.h"
#include "src/backend/host/host_expand.h"
#include "src/backend/host/host_rows.h"
#include "src/base/status_macros.h"
#include "src/ops/begin_params.h"
#include "src/ops/compress_params.h"
#include "src/ops/copy_params.h"
#include "src/ops/gather_params.h"
#include "src/ops/state_params.h"
#include "src/ops/translate_params.h"
#include "src/ops/write_params.h"
#include "terrace/units.h"

namespace terrace::internal {
namespace {

// What one thread takes at a time: some tens of microseconds of work, so that waking a thread pays.
constexpr int64_t kPieceRows = 128;
constexpr int64_t kPieceSlots = 1 << 14;
constexpr int64_t kPieceCopyBytes = 1 << 18;
constexpr int64_t kPieceCsaEntries = 16;
constexpr int64_t kPieceCsaSequences = 16;
constexpr int64_t kPieceHcaSequences = 4;

absl::Status OutOfMemory(int64_t bytes) {
  const int64_t free = sysconf(_SC_AVPHYS_PAGES) * int64_t{sysconf(_SC_PAGESIZE)};
  return absl::ResourceExhaustedError(absl::StrCat("cannot map ", FormatBytes(bytes),
                                                   " of host memory: ", std::strerror(errno), " (",
                                                   FormatBytes(free), " are free)"));
}

absl::StatusOr<void*> Map(int64_t bytes) {
  const int64_t mapped = RoundUp(bytes, sysconf(_SC_PAGESIZE));
  void* memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return OutOfMemory(bytes);
  // Rows lie at random: with small pages most would miss the TLB. A refusal costs speed alone.
  madvise(memory, mapped, MADV_HUGEPAGE);
  return memory;
}

}  // namespace

HostBackend::~HostBackend() {
  allocations_.RemoveAll([&](void* memory, int64_t bytes) { Release(memory, bytes, Stream{}); });
}

absl::StatusOr<void*> HostBackend::Allocate(int64_t bytes, Stream stream) {
  if (absl::Status status = CheckAllocation(bytes); !status.ok()) return status;
  bytes = std::max<int64_t>(bytes, 1);
  TERRACE_ASSIGN_OR_RETURN(void* const memory,
                           memory_ != nullptr ? AllocateFrom(*memory_, bytes, stream) : Map(bytes));
  if (memory_ != nullptr) std::memset(memory, 0, bytes);
  allocations_.Add(memory, bytes);
  return memory;
}

void HostBackend::Release(void* memory, int64_t bytes, Stream stream) {
  if (memory_ != nullptr) return memory_->Deallocate(memory, bytes, stream);
  munmap(memory, RoundUp(bytes, sysconf(_SC_PAGESIZE)));
}

void HostBackend::Free(void* memory, Stream stream) {
  const int64_t bytes = allocations_.Remove(memory);
  if (bytes >= 0) Release(memory, bytes, stream);
}

absl::Status HostBackend::Upload(void* to, const void* from, int64_t bytes, Stream /*stream*/) {
  absl::Status status = CheckTransfer(to, from, bytes);
  if (status.ok() && bytes > 0) std::memcpy(to, from, bytes);
  return status;
}

absl::Status HostBackend::Download(void* to, const void* from, int64_t bytes, Stream stream) {
  return Upload(to, from, bytes, stream);
}

absl::Status HostBackend::Synchronize(Stream /*stream*/) { return absl::OkStatus(); }

absl::Status HostBackend::Begin(const BeginParams& params, Stream stream) {
  std::memcpy(params.step.header, params.plan, BytesToBegin(params));
  const BlockPatch* patches = reinterpret_cast<const BlockPatch*>(
      reinterpret_cast<const std::byte*>(params.step.header) + params.header.patches_offset);
  TERRACE_RETURN_IF_ERROR(
      Patch({params.geometry, params.step, patches, PatchesToBegin(params)}, stream));
  ExpandHostStep(params);
  return absl::OkStatus();
}

absl::Status HostBackend::Patch(const PatchParams& params, Stream /*stream*/) {
  for (int32_t i = 0; i < params.count; ++i) {
    const BlockPatch& patch = params.patches[i];
    const int64_t sequence_blocks = params.geometry.pools[patch.pool].blocks_per_sequence;
    params.step.block_table[patch.pool][patch.sequence_index * sequence_blocks + patch.index] =
        patch.block;
  }
  return absl::OkStatus();
}

absl::Status HostBackend::Write(const WriteParams& params, Stream /*stream*/) {
  int64_t ends[kMaxWriteSegments];  // of the segments' rows, one after the other
  int64_t rows = 0;
  for (int i = 0; i < params.num_segments; ++i) {
    const WriteSegment& segment = params.segments[i];
    rows +=
        segment.count == nullptr ? segment.max_rows : std::min(segment.max_rows, *segment.count);
    ends[i] = rows;
  }
  pool_.ParallelFor(rows, kPieceRows, [&](int64_t begin, int64_t end) {
    int64_t first = 0;
    for (int i = 0; i < params.num_segments; ++i) {
      const int64_t from = std::max(begin, first);
      const int64_t to = std::min(end, ends[i]);
      if (from < to) {
        WriteHostRows(params.segments[i], from - first, to - first, params.counters);
      }
      first = ends[i];
    }
  });
  return absl::OkStatus();
}

absl::Status HostBackend::Translate(const TranslateParams& params, Stream /*stream*/) {
  const int64_t queries = std::max<int64_t>(kPieceSlots / std::max(params.padded_rows, 1), 1);
  pool_.ParallelFor(params.select.num_queries, queries,
                    [&](int64_t begin, int64_t end) { TranslateHostQueries(params, begin, end); });
  return absl::OkStatus();
}

absl::Status HostBackend::Gather(const GatherParams& params, Stream /*stream*/) {
  const int64_t rows = int64_t{params.select.num_queries} * params.select.rows_per_query;
  pool_.ParallelFor(rows, kPieceRows,
                    [&](int64_t begin, int64_t end) { GatherHostRows(params, begin, end); });
  return absl::OkStatus();
}

absl::Status HostBackend::CopyBlocks(const CopyParams& params, Stream /*stream*/) {
  int64_t largest = 1;
  for (const CopyPool& pool : params.pools) {
    largest = std::max(largest, pool.pieces * pool.piece_bytes);
  }
  const int64_t copies = std::max<int64_t>(kPieceCopyBytes / largest, 1);
  pool_.ParallelFor(params.count, copies, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const BlockCopy& copy = params.copies[i];
      const CopyPool& pool = params.pools[copy.pool];
      uint8_t* to = pool.base + copy.destination * pool.block_stride;
      const uint8_t* from = pool.base + copy.source * pool.block_stride;
      for (int32_t piece = 0; piece < pool.pieces; ++piece) {
        std::memcpy(to, from, pool.piece_bytes);
        to += pool.piece_stride;
        from += pool.piece_stride;
      }
    }
  });
  return absl::OkStatus();
}

absl::Status HostBackend::Compress(const CompressParams& params, Stream /*stream*/) {
  const bool csa = params.pool.ratio == kCsaRatio;
  const PlanHeader& header = *params.step.header;
  const int32_t entries = std::min(params.max_entry_rows, header.num_entry_rows[params.pool_index]);
  const auto compress_entries = csa ? CompressCsaEntries : CompressHcaEntries;
  const auto compress_sequences = csa ? CompressCsaSequences : CompressHcaSequences;
  pool_.ParallelFor(entries, csa ? kPieceCsaEntries : 1,
                    [&](int64_t begin, int64_t end) { compress_entries(params, begin, end); });
  pool_.ParallelFor(header.num_sequences, csa ? kPieceCsaSequences : kPieceHcaSequences,
                    [&](int64_t begin, int64_t end) { compress_sequences(params, begin, end); });
  return absl::OkStatus();
}

absl::Status HostBackend::CaptureOverlap(const CaptureOverlapParams& params, Stream /*stream*/) {
  CaptureHostOverlap(params);
  return absl::OkStatus();
}

absl::Status HostBackend::RestoreState(const RestoreStateParams& params, Stream /*stream*/) {
  RestoreHostState(params);
  return absl::OkStatus();
}

Counters HostBackend::ReadCounters() const {
  const auto read = [](uint64_t& counter) {
    return std::atomic_ref<uint64_t>(counter).load(std::memory_order_relaxed);
  };
  return {.nonfinite_values = read(counters_.nonfinite_values),
          .skipped_slots = read(counters_.skipped_slots),
          .skipped_entries = read(counters_.skipped_entries),
          .skipped_positions = read(counters_.skipped_positions),
          .truncated_queries = read(counters_.truncated_queries),
          .stale_states = read(counters_.stale_states),
          .first_stale_state = read(counters_.first_stale_state)};
}

}  // namespace terrace::internal
