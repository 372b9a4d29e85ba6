// Begin on a device: plans that are read where they were staged, plans too large for that, and
// plans queued behind a device that is busy.

#include <cuda_runtime_api.h>

#include <memory>
#include <utility>
#include <vector>

#include "kernels/begin.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/cuda/cuda_overlap_kernels.h"
#include "tests/support/store_fixture.h"

namespace terrace::testing {
namespace {

using internal::MakeGeometry;

// A store and a ledger of `sequences` sequences, one layer of ratio 4.
struct Deployment {
  Deployment(std::shared_ptr<Backend> shared, int32_t sequences, int32_t max_step_tokens)
      : backend(std::move(shared)) {
    model = *MakeModel(
        {.ratios = {4}, .overlap = false, .swa_block_tokens = 32, .max_context_tokens = 2048});
    geometry =
        *MakeGeometry(model, {.max_sequences = sequences, .max_step_tokens = max_step_tokens},
                      std::vector<int32_t>{8 * sequences, 4 * sequences});
    store = *Store::Create({.model = model, .geometry = geometry}, backend);
    ledger = *Ledger::Create({.geometry = geometry, .epoch = 1, .prefix = {.enabled = false}});
    for (int32_t s = 0; s < sequences; ++s) {
      ids.push_back(ledger->AllocateSequence({.tokens = std::vector<int32_t>(400, s)})->id);
    }
  }

  // A step of the sequences first, first + stride, ...
  Plan Append(size_t first, size_t stride, int32_t tokens) {
    std::vector<StepRequest> batch;
    for (size_t s = first; s < ids.size(); s += stride) {
      batch.push_back({.id = ids[s], .tokens = tokens + static_cast<int32_t>(s % 3)});
    }
    return *ledger->Append(batch);
  }

  // The step as kernels find it: header, token rows, and slots and positions of every pool.
  std::vector<std::vector<int32_t>> Step(int32_t padded_rows) {
    const StepView& view = store->step_view();
    std::vector<std::vector<int32_t>> all;
    const auto add = [&](const void* from, int64_t words) {
      all.push_back(DownloadArray<int32_t>(*backend, from, words));
    };
    const PlanHeader& header = store->step();
    // Of a snapshot the header alone stays where it was.
    add(view.header,
        (header.kind == PlanKind::kSnapshot ? header.patches_offset : header.total_bytes) / 4);
    add(view.tokens, padded_rows * 4);
    add(view.token_record, padded_rows);
    add(view.token_position, padded_rows);
    add(view.slots[0], padded_rows);
    add(view.slots[1], header.num_entry_rows[1]);
    add(view.entry_position[1], header.num_entry_rows[1]);
    for (int p = 0; p < geometry.num_pools; ++p) {
      add(view.block_table[p],
          int64_t{geometry.max_sequences} * geometry.pools[p].blocks_per_sequence);
    }
    return all;
  }

  std::shared_ptr<Backend> backend;
  ModelSpec model;
  Geometry geometry{};
  std::unique_ptr<Store> store;
  std::unique_ptr<Ledger> ledger;
  std::vector<SequenceId> ids;
};

using CudaBeginTest = CudaTest;

TEST_F(CudaBeginTest, PlansOfEverySizeAreBegunAsTheHostDoes) {
  constexpr int32_t kSequences = 1000;
  Deployment cuda(std::move(cuda_), kSequences, 40'000);
  Deployment host(std::move(host_), kSequences, 40'000);
  bool staged = false;
  bool uploaded = false;
  const auto begin = [&](size_t first, size_t stride, int32_t tokens, int32_t padding) {
    const Plan plan = host.Append(first, stride, tokens);
    const int64_t bytes = plan.header().total_bytes;
    (bytes <= internal::kMaxStagedPlanBytes ? staged : uploaded) = true;
    const int32_t padded = plan.header().num_token_rows + padding;
    SCOPED_TRACE(::testing::Message() << bytes << " bytes, " << padded << " rows");
    ASSERT_TRUE(cuda.store->Begin(plan, Stream{}, padded).ok());
    ASSERT_TRUE(host.store->Begin(plan, Stream{}, padded).ok());
    EXPECT_TRUE(cuda.Step(padded) == host.Step(padded));
  };
  begin(0, 1000, 1, 0);   // one sequence, one token
  begin(1, 4, 1, 7);      // a decode step
  begin(2, 500, 390, 0);  // prefill pieces
  begin(0, 1, 1, 100);    // a plan that is not staged
  begin(3, 4, 30, 0);     // more rows than one block expands
  begin(0, 1, 35, 0);
  EXPECT_TRUE(staged && uploaded);

  // A snapshot rebuilds the tables, whatever its size; the step that it was taken at may be begun.
  const Plan snapshot = *host.ledger->Snapshot();
  EXPECT_GT(snapshot.header().total_bytes, internal::kMaxStagedPlanBytes);
  ASSERT_TRUE(cuda.store->Begin(snapshot, Stream{}, 64).ok());
  ASSERT_TRUE(host.store->Begin(snapshot, Stream{}, 64).ok());
  EXPECT_TRUE(cuda.Step(64) == host.Step(64));
}

TEST_F(CudaBeginTest, PlansQueuedBehindABusyDeviceStayApart) {
  constexpr int32_t kSequences = 40;
  constexpr int32_t kSteps = 100;  // several times the ring of staging buffers
  constexpr int32_t kRows = 3 * kSequences;
  constexpr int64_t kBusyNs = 3'000'000;
  Deployment cuda(std::move(cuda_), kSequences, kRows);
  Deployment host(std::move(host_), kSequences, kRows);
  BackendArray<int32_t> slots(*cuda.backend, kSteps * kRows * 128);
  BackendArray<int32_t> host_slots(*host.backend, kSteps * kRows * 128);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_TRUE(cuda.backend->Synchronize(Stream{}).ok());
  ASSERT_EQ(LaunchLateCopies({.delay_ns = kBusyNs, .num_copies = 0, .copies = {}}, stream), 0);
  for (int32_t step = 0; step < kSteps; ++step) {
    const Plan plan = host.Append(step % 3, 1 + step % 2, 1);
    ASSERT_TRUE(cuda.store->Begin(plan, Stream{stream}, kRows).ok());
    ASSERT_TRUE(host.store->Begin(plan, Stream{}, kRows).ok());
    // Directly behind Begin, and directly before the next.
    const int64_t at = int64_t{step} * kRows * 128;
    ASSERT_TRUE(
        cuda.store->TranslateWindow(0, {}, {.slots = slots.data() + at}, Stream{stream}).ok());
    ASSERT_TRUE(host.store->TranslateWindow(0, {}, {.slots = host_slots.data() + at}, {}).ok());
  }
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_TRUE(slots.Read() == host_slots.Read());
  EXPECT_TRUE(cuda.Step(kRows) == host.Step(kRows));
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace terrace::testing
