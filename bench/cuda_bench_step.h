// What the GPU benches read and write: pools with the extents of DeepSeek-V4-Flash, full of random
// bytes, and steps of many sequences with long contexts.

#ifndef TERRACE_BENCH_CUDA_BENCH_STEP_H_
#define TERRACE_BENCH_CUDA_BENCH_STEP_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "bench/cuda_bench_util.h"
#include "src/model/geometry_builder.h"
#include "src/model/page_layout.h"
#include "src/ops/begin_params.h"
#include "src/ops/pages.h"
#include "terrace/model.h"

namespace terrace::internal {

constexpr int kWindowPool = 0;  // of DeepSeekV4Flash()
constexpr int kCsaPool = 1;
constexpr int32_t kContext = 65536;
constexpr int kLayers = 16;  // that calls rotate through: more bytes than any L2 holds

// Finite bf16 around one.
inline std::vector<uint16_t> RandomBf16(std::mt19937_64& random, int64_t count) {
  std::vector<uint16_t> values(count);
  for (int64_t i = 0; i < count; i += 4) {
    const uint64_t bits = (random() & 0x83FF83FF83FF83FFu) | 0x3C003C003C003C00u;
    std::memcpy(&values[i], &bits, 2 * std::min<int64_t>(4, count - i));
  }
  return values;
}

// `count` distinct numbers below `limit`.
inline std::vector<int32_t> RandomDistinct(std::mt19937_64& random, int32_t count, int32_t limit) {
  std::vector<int32_t> all(limit);
  std::iota(all.begin(), all.end(), 0);
  for (int32_t i = 0; i < count; ++i) std::swap(all[i], all[i + random() % (limit - i)]);
  all.resize(count);
  return all;
}

// Slots of 64-entry blocks, consecutive within a block, the blocks random.
inline std::vector<int32_t> ConsecutiveSlots(std::mt19937_64& random, int32_t count,
                                             int32_t num_blocks) {
  const std::vector<int32_t> blocks = RandomDistinct(random, (count + 63) / 64, num_blocks);
  std::vector<int32_t> slots(count);
  for (int32_t i = 0; i < count; ++i) slots[i] = blocks[i / 64] * 64 + i % 64;
  return slots;
}

// k distinct entries a query, in random order, over all the CSA entries that it sees.
inline std::vector<int32_t> RandomTopK(std::mt19937_64& random, int32_t queries, int32_t k) {
  const int32_t spacing = kContext / 4 / k;
  std::vector<int32_t> entries(int64_t{queries} * k);
  for (int32_t q = 0; q < queries; ++q) {
    int32_t* some = entries.data() + int64_t{q} * k;
    for (int32_t i = 0; i < k; ++i) {
      some[i] = i * spacing + static_cast<int32_t>(random() % (spacing / 2));
    }
    std::shuffle(some, some + k, random);
  }
  return entries;
}

// The CSA pool: every block has the pages of 21 layers; a bench uses the first bytes of each
// layer's place as pages of the format that it measures. The same bytes serve both layouts.
class BenchPool {
 public:
  BenchPool(Backend& backend, int64_t bytes)
      : blocks_(
            static_cast<int32_t>(std::min(bytes / Place(PoolLayout::kBlockMajor, 1).total_bytes,
                                          bytes / Place(PoolLayout::kLayerMajor, 1).total_bytes))),
        block_major_(Place(PoolLayout::kBlockMajor, blocks_)),
        layer_major_(Place(PoolLayout::kLayerMajor, blocks_)) {
    const int64_t all = std::max(block_major_.total_bytes, layer_major_.total_bytes);
    base_ = OnDevice<uint8_t>(backend, all);
    constexpr int64_t kPiece = 64 << 20;
    std::mt19937_64 random(1);
    std::vector<uint64_t> piece(kPiece / 8);
    for (uint64_t& word : piece) word = random();
    Require(backend.Upload(base_, piece.data(), std::min(kPiece, all), Stream{}));
    for (int64_t filled = kPiece; filled < all; filled *= 2) {
      RequireCuda(cudaMemcpyAsync(base_ + filled, base_, std::min(filled, all - filled),
                                  cudaMemcpyDeviceToDevice, nullptr),
                  "cudaMemcpyAsync");
    }
    Require(backend.Synchronize(Stream{}));
  }

  PlanePages Pages(RowFormat format, int call, PoolLayout layout = PoolLayout::kBlockMajor) const {
    const PoolPages& place = layout == PoolLayout::kBlockMajor ? block_major_ : layer_major_;
    return {.base = base_ + call % kLayers * place.layer_stride,
            .block_stride = place.block_stride,
            .scale_offset = LayoutOf(format).scale_offset(64),
            .log2_entries_per_block = 6,
            .num_slots = blocks_ * 64,
            .format = format,
            .global_scale = 1};
  }

  uint8_t* base() const { return base_; }
  int32_t blocks() const { return blocks_; }
  int64_t block_bytes() const { return block_major_.block_stride; }

 private:
  static PoolPages Place(PoolLayout layout, int64_t blocks) {
    PoolSpec pool = DeepSeekV4Flash().pools[kCsaPool];
    pool.layout = layout;
    return PlacePages(pool, 21, blocks);
  }

  int32_t blocks_;
  PoolPages block_major_;
  PoolPages layer_major_;
  uint8_t* base_ = nullptr;
};

// A step of `sequences` sequences that end at kContext tokens, `tokens` of them in the step,
// expanded on the device.
class BenchStep {
 public:
  BenchStep(Backend& backend, int32_t blocks, int32_t sequences, int32_t tokens) {
    const ModelSpec model = DeepSeekV4Flash();
    Limits limits;
    limits.max_sequences = sequences;
    limits.max_context_tokens = kContext;
    auto geometry = MakeGeometry(model, limits, std::vector<int32_t>(model.pools.size(), blocks));
    Require(geometry.status());
    begin.geometry = *geometry;

    PlanHeader header{};
    header.num_sequences = sequences;
    header.num_token_rows = sequences * tokens;
    std::vector<SequenceStep> records(sequences);
    for (int32_t l = 0; l < sequences; ++l) {
      records[l].sequence_index = l;
      records[l].first = kContext - tokens;
      records[l].count = tokens;
      records[l].token_row = l * tokens;
      for (int p = 1; p < geometry->num_pools; ++p) {
        if (geometry->pools[p].kind != PoolKind::kFull) continue;
        const int32_t closed =
            kContext / geometry->pools[p].ratio - (kContext - tokens) / geometry->pools[p].ratio;
        records[l].entry_row[p] = l * closed;
        header.num_entry_rows[p] = sequences * closed;
      }
    }
    // Most steps of 256 decoding sequences take some blocks.
    const std::vector<BlockPatch> patches(8, BlockPatch{kWindowPool, 0, 0, 0});
    header.num_patches = static_cast<int32_t>(patches.size());
    header.patches_offset = static_cast<int32_t>(sizeof(header) + sequences * sizeof(SequenceStep));
    header.total_bytes =
        header.patches_offset + header.num_patches * static_cast<int32_t>(sizeof(BlockPatch));
    plan.resize(header.total_bytes);
    uint8_t* to = plan.data();
    std::memcpy(to, &header, sizeof(header));
    std::memcpy(to += sizeof(header), records.data(), sequences * sizeof(SequenceStep));
    std::memcpy(to += sequences * sizeof(SequenceStep), patches.data(),
                patches.size() * sizeof(BlockPatch));

    StepView& view = begin.step;
    view.header = reinterpret_cast<PlanHeader*>(OnDevice(backend, plan));
    view.counters = backend.counters();
    view.tokens = OnDevice<TokenRow>(backend, header.num_token_rows);
    view.token_record = OnDevice<int32_t>(backend, header.num_token_rows);
    view.token_position = OnDevice<int32_t>(backend, header.num_token_rows);
    std::mt19937_64 random(2);
    for (int p = 0; p < geometry->num_pools; ++p) {
      std::vector<int32_t> table(int64_t{sequences} * geometry->pools[p].blocks_per_sequence);
      const std::vector<int32_t> order = RandomDistinct(random, blocks, blocks);
      for (size_t i = 0; i < table.size(); ++i) table[i] = order[i % order.size()];
      view.block_table[p] = OnDevice(backend, table);
      view.slots[p] = OnDevice<int32_t>(backend, header.num_token_rows);
      view.entry_position[p] = OnDevice<int32_t>(backend, header.num_token_rows);
    }
    begin.header = header;
    begin.plan = reinterpret_cast<const std::byte*>(plan.data());
    begin.padded_token_rows = header.num_token_rows;
    Require(Kernels(backend).Begin(begin, Stream{}));
    Require(backend.Synchronize(Stream{}));
  }

  std::vector<uint8_t> plan;
  BeginParams begin{};
};

}  // namespace terrace::internal

#endif  // TERRACE_BENCH_CUDA_BENCH_STEP_H_
