// What is captured once in a CUDA graph and replayed with plan after plan: counts, rows and tables
// are read where the kernels run.

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "src/ops/begin_params.h"
#include "src/ops/copy_params.h"
#include "src/ops/translate_params.h"
#include "terrace/formats/rope.h"
#include "terrace/store.h"
#include "tests/cuda/cuda_fixture.h"
#include "tests/support/compress_traffic.h"
#include "tests/support/store_scenario.h"

namespace terrace::testing {
namespace {

using internal::MakeGeometry;

constexpr int32_t kTokens = 64;   // of a step at most, and the size that is captured
constexpr int32_t kVisible = 64;  // entries that a query may gather; some see more
constexpr int32_t kContext = 900;
constexpr int kLayer = 0;

Scenario MakeGraphScenario() {
  LayeredModelOptions options;
  options.ratios = {4};
  options.latent_format = RowFormat::kFlashMlaV4;
  options.overlap = false;
  options.swa_block_tokens = 16;
  options.max_context_tokens = kContext;
  Scenario scenario;
  scenario.seed = 5;
  scenario.model = *MakeModel(options);
  Limits limits;
  limits.max_sequences = 4;
  limits.max_step_tokens = kTokens;
  limits.max_drafts = 3;
  scenario.geometry = *MakeGeometry(scenario.model, limits, std::vector<int32_t>{100, 16});
  return scenario;
}

// One store with the fixed buffers that a step reads and fills.
class Side {
 public:
  Side(const Scenario& scenario, std::shared_ptr<Backend> backend)
      : backend_(std::move(backend)),
        swa_(*backend_, kTokens * kLatentChannels),
        entries_(*backend_, kTokens * kLatentChannels),
        keys_(*backend_, kTokens * kIndexerChannels),
        window_slots_(*backend_, kTokens * 128),
        window_lengths_(*backend_, kTokens),
        window_rows_(*backend_, kTokens * 128 * kLatentChannels),
        visible_slots_(*backend_, kTokens * kVisible),
        visible_rows_(*backend_, kTokens * kVisible * kLatentChannels),
        key_rows_(*backend_, kTokens * kVisible * kIndexerChannels) {
    auto store = Store::Create({.model = scenario.model, .geometry = scenario.geometry}, backend_);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    std::vector<RopeTableView> views;
    for (const RopeSpec& rope : scenario.model.ropes) {
      tables_.push_back(
          std::make_unique<BackendArray<float>>(*backend_, MakeRopeTable(kContext, rope)));
      views.push_back({tables_.back()->data(), kContext});
    }
    ExpectOk(store_->SetRopeTables(views));
    ExpectOk(backend_->Synchronize(Stream{}));  // steps run on a stream of their own
  }

  void Begin(const Plan& plan, uint64_t seed, Stream stream) {
    const absl::Status status = store_->Begin(plan, stream, kTokens);
    ASSERT_TRUE(status.ok()) << status;
    std::mt19937_64 random(seed);
    for (auto* rows : {&swa_, &entries_, &keys_}) {
      const int32_t channels = rows == &keys_ ? kIndexerChannels : kLatentChannels;
      const std::vector<uint16_t> values = RandomRows(random, kTokens, channels, true);
      ASSERT_TRUE(
          backend_
              ->Upload(rows->data(), values.data(), static_cast<int64_t>(values.size()) * 2, stream)
              .ok());
    }
  }

  // What a layer does in a step; the same calls are captured.
  void Step(Stream stream) {
    const int32_t most_entries =
        static_cast<int32_t>(MaxEntryRows(store_->geometry(), PoolIndex(1)));
    ASSERT_LE(most_entries, kTokens);
    LayerRows rows;
    rows.swa = {.data = swa_.data(), .capacity = kTokens};
    rows.entries = {.data = entries_.data(), .capacity = most_entries};
    rows.indexer = {.data = keys_.data(), .capacity = most_entries};
    ExpectOk(store_->Write(kLayer, rows, stream));
    ExpectOk(store_->TranslateWindow(
        kLayer, {}, {.slots = window_slots_.data(), .lengths = window_lengths_.data()}, stream));
    ExpectOk(store_->GatherWindow(kLayer, {}, {.data = window_rows_.data()}, stream));
    ExpectOk(
        store_->TranslateVisible(kLayer, {}, kVisible, {.slots = visible_slots_.data()}, stream));
    ExpectOk(store_->GatherVisible(kLayer, {}, kVisible, {.data = visible_rows_.data()}, stream));
    ExpectOk(store_->GatherVisible(kLayer, {}, kVisible, {.data = key_rows_.data()}, stream,
                                   PlaneKind::kIndexer));
  }

  std::vector<uint8_t> PoolBytes(PoolKind pool) {
    const PageView view = *store_->Pages(kLayer, pool);
    return DownloadArray<uint8_t>(*backend_, view.base, view.num_blocks * view.block_stride);
  }

  Store& store() { return *store_; }

  // The step's results in both are the same.
  void ExpectSame(Side& other) {
    EXPECT_TRUE(window_slots_.Read() == other.window_slots_.Read());
    EXPECT_TRUE(window_lengths_.Read() == other.window_lengths_.Read());
    EXPECT_TRUE(window_rows_.Read() == other.window_rows_.Read());
    EXPECT_TRUE(visible_slots_.Read() == other.visible_slots_.Read());
    EXPECT_TRUE(visible_rows_.Read() == other.visible_rows_.Read());
    EXPECT_TRUE(key_rows_.Read() == other.key_rows_.Read());
  }

 private:
  static void ExpectOk(const absl::Status& status) { EXPECT_TRUE(status.ok()) << status; }

  std::shared_ptr<Backend> backend_;
  BackendArray<uint16_t> swa_;
  BackendArray<uint16_t> entries_;
  BackendArray<uint16_t> keys_;
  BackendArray<int32_t> window_slots_;
  BackendArray<int32_t> window_lengths_;
  BackendArray<uint16_t> window_rows_;
  BackendArray<int32_t> visible_slots_;
  BackendArray<uint16_t> visible_rows_;
  BackendArray<uint16_t> key_rows_;
  std::vector<std::unique_ptr<BackendArray<float>>> tables_;
  std::unique_ptr<Store> store_;
};

using CudaGraphTest = CudaTest;

// `warmed_up`: the graph is captured on a step of no sequence, before the first request.
void ServeFromOneGraph(std::shared_ptr<Backend> cuda_backend, std::shared_ptr<Backend> host_backend,
                       bool warmed_up) {
  const Scenario scenario = MakeGraphScenario();
  Side cuda(scenario, std::move(cuda_backend));
  Side host(scenario, std::move(host_backend));
  Traffic traffic(scenario);
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  cudaGraphExec_t graph = nullptr;

  int32_t empty = 0;
  int32_t most = 0;
  for (uint64_t step = 0; step < 120 && !::testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE(step);
    const bool idle = step % 10 == (warmed_up ? 0 : 5);
    const TrafficStep next = idle ? TrafficStep{*traffic.ledger().Append({}), {}} : traffic.Next();
    empty += next.plan.sequences().empty();
    most = std::max(most, next.plan.header().num_token_rows);
    cuda.Begin(next.plan, step, Stream{stream});
    host.Begin(next.plan, step, Stream{});
    host.Step(Stream{});
    if (step == 0) {
      // Once outside, so that all code is loaded; its counts are the host's second step.
      cuda.Step(Stream{stream});
      host.Step(Stream{});
      ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
      cuda.Step(Stream{stream});
      cudaGraph_t captured = nullptr;
      ASSERT_EQ(cudaStreamEndCapture(stream, &captured), cudaSuccess);
      ASSERT_EQ(cudaGraphInstantiate(&graph, captured, 0), cudaSuccess);
      ASSERT_EQ(cudaGraphDestroy(captured), cudaSuccess);
    }
    ASSERT_EQ(cudaGraphLaunch(graph, stream), cudaSuccess);
    ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
    cuda.ExpectSame(host);
  }
  EXPECT_GE(empty, 12);
  EXPECT_GT(most, kTokens / 2);
  EXPECT_TRUE(cuda.PoolBytes(PoolKind::kWindow) == host.PoolBytes(PoolKind::kWindow));
  EXPECT_TRUE(cuda.PoolBytes(PoolKind::kFull) == host.PoolBytes(PoolKind::kFull));
  const Counters counters = cuda.store().ReadCounters();
  EXPECT_TRUE(counters == host.store().ReadCounters());
  EXPECT_GT(counters.nonfinite_values, 0u);
  EXPECT_GT(counters.truncated_queries, 0u);
  EXPECT_EQ(cudaGraphExecDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(CudaGraphTest, AStepCapturedOnceServesEveryPlan) {
  ServeFromOneGraph(std::move(cuda_), std::move(host_), /*warmed_up=*/false);
}

TEST_F(CudaGraphTest, AGraphIsWarmedUpWithAStepOfNoSequence) {
  ServeFromOneGraph(std::move(cuda_), std::move(host_), /*warmed_up=*/true);
}

// CompressDriver::Compress in a graph: run as it is in the first step, so that all code is loaded,
// captured in the second, and replayed from then on.
class CapturedCompress {
 public:
  CapturedCompress() { Expect(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~CapturedCompress() {
    if (graph_ != nullptr) Expect(cudaGraphExecDestroy(graph_));
    Expect(cudaStreamDestroy(stream_));
  }
  CapturedCompress(const CapturedCompress&) = delete;
  CapturedCompress& operator=(const CapturedCompress&) = delete;

  void Run(CompressDriver& driver) {
    tokens_.insert(driver.store().step().num_token_rows);
    if (++steps_ == 1) return driver.Compress(Stream{}, kCompressTokens);
    if (steps_ == 2) Capture(driver);
    Expect(cudaGraphLaunch(graph_, nullptr));  // the stream of all else
    Expect(cudaStreamSynchronize(nullptr));
  }
  // Row counts of the steps.
  const std::set<int32_t>& tokens() const { return tokens_; }

 private:
  static void Expect(cudaError_t error) { EXPECT_EQ(error, cudaSuccess); }

  void Capture(CompressDriver& driver) {
    Expect(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal));
    driver.Compress(Stream{stream_}, kCompressTokens);
    cudaGraph_t captured = nullptr;
    Expect(cudaStreamEndCapture(stream_, &captured));
    Expect(cudaGraphInstantiate(&graph_, captured, 0));
    Expect(cudaGraphDestroy(captured));
  }

  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
  int steps_ = 0;
  std::set<int32_t> tokens_;
};

TEST_F(CudaGraphTest, CompressCapturedOnceMakesTheEntriesOfAnyTraffic) {
  const std::shared_ptr<Backend> backend = std::move(cuda_);
  for (int seed = 0; seed < 3; ++seed) {
    SCOPED_TRACE(seed);
    CapturedCompress captured;
    CompressOptions options;
    options.rows = seed == 2 ? FloatType::kBf16 : FloatType::kFloat32;
    options.make_entries = [&](CompressDriver& driver) { captured.Run(driver); };
    CompressTraffic traffic(options, backend, seed);
    for (int i = 0; i < 100 && !HasFailure(); ++i) traffic.Act();
    traffic.FreeAll();  // each is checked against one pass that no graph makes
    EXPECT_GT(traffic.figures().checks, 5);
    EXPECT_GT(traffic.figures().rejections, 5);
    EXPECT_GT(captured.tokens().size(), 20u);
  }
}

// A graph's launches, which no store sees: the pages themselves know where they stand.
TEST_F(CudaGraphTest, AReplayThatIsMissingOrComesTwiceLeavesStaleState) {
  const std::shared_ptr<Backend> backend = std::move(cuda_);
  uint64_t found = 0;
  std::mt19937_64 random(15);
  const std::vector<int32_t> ids = RandomIds(random, kCompressTokens);
  for (const int replays : {2, 0}) {
    SCOPED_TRACE(replays);
    CapturedCompress captured;
    int times = 1;
    CompressOptions options = {.prefix_reuse = false};
    options.make_entries = [&](CompressDriver& driver) {
      for (int i = 0; i < times; ++i) captured.Run(driver);
    };
    CompressDriver driver(options, backend);
    const auto admission = driver.ledger().AllocateSequence({.tokens = ids});
    ASSERT_TRUE(admission.ok()) << admission.status();
    const auto step = [&](int32_t tokens, int launches) {
      const auto plan = driver.ledger().Append({{{.id = admission->id, .tokens = tokens}}});
      ASSERT_TRUE(plan.ok()) << plan.status();
      times = launches;
      driver.Run(*plan, {ids});
      ASSERT_TRUE(backend->Synchronize(Stream{}).ok());
    };
    for (const int32_t tokens : {30, 1, 200, 1, 5}) step(tokens, 1);
    EXPECT_EQ(backend->ReadCounters().stale_states, found);
    step(1, replays);
    step(1, 1);
    found += 2;  // a page in each of the two layers
    EXPECT_EQ(backend->ReadCounters().stale_states, found);
    const auto first = FirstStaleState(backend->ReadCounters());
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->plan, 6u);  // of the first round
    EXPECT_EQ(first->layer, CompressDriver::kCsaLayer);
    EXPECT_EQ(first->sequence_index, admission->id.index);
    EXPECT_TRUE(first->fed_again);
    step(1, 1);
    EXPECT_EQ(backend->ReadCounters().stale_states, found);
  }
}

TEST_F(CudaGraphTest, NoWorkLaunchesNothing) {
  const auto backend = std::shared_ptr<Backend>(std::move(cuda_));
  TestPlane plane(*backend, {});
  WriteParams write{};
  write.num_segments = 1;
  write.segments[0].pages = plane.pages();
  GatherParams gather{};
  gather.pages = plane.pages();
  gather.select.kind = SelectKind::kTopK;
  gather.select.rows_per_query = 64;
  internal::TranslateParams translate{};
  translate.select = gather.select;
  translate.padded_rows = 64;
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_TRUE(KernelsOf(*backend).Write(write, Stream{stream}).ok());
  EXPECT_TRUE(KernelsOf(*backend).Gather(gather, Stream{stream}).ok());
  EXPECT_TRUE(KernelsOf(*backend).Translate(translate, Stream{stream}).ok());
  EXPECT_TRUE(KernelsOf(*backend).CopyBlocks({}, Stream{stream}).ok());
  EXPECT_TRUE(KernelsOf(*backend).Patch({}, Stream{stream}).ok());
  cudaGraph_t captured = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &captured), cudaSuccess);
  size_t nodes = 1;
  EXPECT_EQ(cudaGraphGetNodes(captured, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, 0u);
  EXPECT_EQ(cudaGraphDestroy(captured), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

TEST_F(CudaGraphTest, BeginIsRefusedInACapture) {
  const Scenario scenario = MakeGraphScenario();
  Side cuda(scenario, std::move(cuda_));
  Traffic traffic(scenario);
  const TrafficStep step = traffic.Next();
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  const absl::Status begun = cuda.store().Begin(step.plan, Stream{stream});
  cudaGraph_t captured = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream, &captured), cudaSuccess);
  EXPECT_EQ(begun.code(), absl::StatusCode::kFailedPrecondition) << begun;
  EXPECT_EQ(cudaGraphDestroy(captured), cudaSuccess);
  EXPECT_TRUE(cuda.store().Begin(step.plan, Stream{stream}).ok());
  EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(cudaStreamDestroy(stream), cudaSuccess);
}

}  // namespace
}  // namespace terrace::testing
