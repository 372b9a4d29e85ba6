// PlanShadow knows where the rows and state of a plan go that a store never ran: another store, on
// the host, begins every plan. So tests can poison all that a lost plan was to write.

#ifndef TERRACE_TESTS_SUPPORT_PLAN_SHADOW_H_
#define TERRACE_TESTS_SUPPORT_PLAN_SHADOW_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "terrace/store.h"

namespace terrace::testing {

class PlanShadow {
 public:
  PlanShadow(const ModelSpec& model, const Geometry& geometry)
      : model_(model), geometry_(geometry) {
    auto backend = MakeBackend({.kind = BackendKind::kHost, .host_threads = 1});
    EXPECT_TRUE(backend.ok()) << backend.status();
    auto store = Store::Create({.model = model, .geometry = geometry}, *std::move(backend));
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  void Follow(const Plan& plan) {
    const absl::Status begun = store_->Begin(plan, Stream{});
    ASSERT_TRUE(begun.ok()) << begun;
  }

  // Bytes of another store.
  struct Piece {
    void* at;
    int64_t bytes;
  };
  // All that the plan, the last one followed, writes in `store`: rows, entries, what checkpoints
  // capture, copies, and the state of its sequences.
  std::vector<Piece> PiecesOf(const Plan& plan, const Store& store) const {
    std::vector<Piece> pieces;
    ForEachPlane(store,
                 [&](int pool, const PageView& pages) { AddPieces(plan, pool, pages, pieces); });
    return pieces;
  }

  // All of it, as of a store that came back with nothing.
  std::vector<Piece> AllPieces(const Store& store) const {
    std::vector<Piece> pieces;
    ForEachPlane(store, [&](int, const PageView& pages) {
      for (int64_t block = 0; block < pages.num_blocks; ++block) {
        pieces.push_back({PageOf(pages, block), pages.page_bytes});
      }
    });
    return pieces;
  }

  // Every byte becomes 0xFF: a NaN in every format that has one.
  static void Poison(const std::vector<Piece>& pieces, Backend& backend) {
    for (const Piece& piece : pieces) {
      const std::vector<uint8_t> poison(piece.bytes, 0xFF);
      const absl::Status status = backend.Upload(piece.at, poison.data(), piece.bytes, Stream{});
      ASSERT_TRUE(status.ok()) << status;
    }
  }

 private:
  static uint8_t* PageOf(const PageView& pages, int64_t block) {
    return static_cast<uint8_t*>(pages.base) + block * pages.block_stride;
  }

  // Calls visit(pool, pages) for each plane of each layer.
  template <typename Visit>
  void ForEachPlane(const Store& store, const Visit& visit) const {
    for (size_t layer = 0; layer < model_.layers.size(); ++layer) {
      for (const LayerPool& use : model_.layers[layer].pools) {
        if (!use.writes) continue;
        const PoolSpec& pool = model_.pools[use.pool];
        for (size_t plane = 0; plane < std::max<size_t>(pool.planes.size(), 1); ++plane) {
          const auto pages =
              store.Pages(static_cast<int>(layer), pool.kind, static_cast<PlaneKind>(plane));
          ASSERT_TRUE(pages.ok()) << pages.status();
          visit(use.pool, *pages);
        }
      }
    }
  }

  void AddPieces(const Plan& plan, int pool, const PageView& pages,
                 std::vector<Piece>& pieces) const {
    const auto page = [&](int64_t block) { return PageOf(pages, block); };
    for (const BlockCopy& copy : plan.copies()) {
      if (copy.pool == pool) pieces.push_back({page(copy.destination), pages.page_bytes});
    }
    const PoolGeometry& geometry = geometry_.pools[pool];
    const StepView& view = store_->step_view();
    if (geometry.kind == PoolKind::kOverlap) {
      for (const CheckpointRecord& checkpoint : plan.checkpoints()) {
        pieces.push_back({page(checkpoint.overlap_block), pages.page_bytes});
      }
      return;
    }
    if (geometry.kind == PoolKind::kState) {
      for (const SequenceStep& part : plan.sequences()) {
        pieces.push_back({page(view.block_table[pool][part.sequence_index]), pages.page_bytes});
      }
      return;
    }
    const int32_t rows = geometry.kind == PoolKind::kWindow ? plan.header().num_token_rows
                                                            : plan.header().num_entry_rows[pool];
    for (int32_t row = 0; row < rows; ++row) {
      const int32_t slot = view.slots[pool][row];
      if (slot < 0) continue;
      uint8_t* const of_block = page(slot / pages.entries_per_block);
      const int64_t entry = slot % pages.entries_per_block;
      pieces.push_back({of_block + entry * pages.data_stride, pages.data_bytes});
      if (pages.scale_bytes == 0) continue;
      pieces.push_back(
          {of_block + pages.scale_offset + entry * pages.scale_stride, pages.scale_bytes});
    }
  }

  ModelSpec model_;
  Geometry geometry_;
  std::unique_ptr<Store> store_;
};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_SUPPORT_PLAN_SHADOW_H_
