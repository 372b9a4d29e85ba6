// Compress on a GPU: prefill pieces of one sequence, with checkpoints and without, and decode steps
// of 256, with drafts and without; see kHelp. Calls rotate through the model's layers, whose states
// are pages of their own, and through more input than any L2 holds.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "bench/cuda_bench_util.h"
#include "kernels/device_support.h"
#include "src/model/state_pages.h"
#include "terrace/capacity.h"
#include "terrace/formats/bf16.h"
#include "terrace/formats/rope.h"
#include "terrace/ledger.h"
#include "terrace/store.h"
#include "terrace/units.h"

namespace terrace::internal {
namespace {

constexpr char kHelp[] = R"(usage: cuda_compress_bench [FILTER]

Times Compress for a layer of DeepSeek-V4-Flash with float32 rows: a CUDA graph calls it once for
each such layer, the state cold. GB/s are rows read and rows and checkpoints stored, counted once,
and their fraction of the device's own copy bandwidth; none where the state is most of what moves.

  FILTER                       only the rows in whose name this regular expression is found

  an empty kernel in a graph   the least that a launch costs
  prefill of N tokens          one sequence, from its first token on
    , from token 64 on         64 tokens came before: an HCA group is open
    , K checkpoints            prefix reuse is on: overlap rows are stored at K boundaries
  decode of 256 sequences      a token each: 64 CSA groups close, and 2 HCA ones
    , 4 drafts each            5 tokens each, of which the state keeps 4 to be taken back
)";

constexpr int32_t kSequences = 256;
constexpr int32_t kStepTokens = 16384;
constexpr int64_t kInputRows = 4 * kStepTokens;  // that calls rotate through
constexpr int kFloorCalls = 20;                  // of a graph
constexpr int64_t kScratchBytes = 256 * kMiB;    // several times any L2
constexpr double kOverlapBytes = 20480;          // of a checkpoint, a CSA layer

class CompressBench {
 public:
  CompressBench(std::shared_ptr<Backend> backend, GpuTimer& timer, BenchTable& table)
      : backend_(std::move(backend)), timer_(timer), table_(table) {
    const LayeredModelOptions options = ModelOptionsByName("deepseek-v4-flash").value();
    model_ = MakeModel(options).value();
    rope_ = {OnDevice(*backend_, MakeRopeTable(kStepTokens, kCompressedRope)), kStepTokens};
    for (int layer = 0; layer < static_cast<int>(options.ratios.size()); ++layer) {
      if (options.ratios[layer] == kCsaRatio) csa_layers_.push_back(layer);
      if (options.ratios[layer] == kHcaRatio) hca_layers_.push_back(layer);
    }
    scratch_ = OnDevice<uint8_t>(*backend_, kScratchBytes);
    csa_latent_ = MakeProjection(2 * kLatentChannels, kCsaRatio);
    csa_indexer_ = MakeProjection(2 * kIndexerChannels, kCsaRatio);
    hca_latent_ = MakeProjection(kLatentChannels, kHcaRatio);
  }

  // Puts an empty cache in the place of the one before.
  void Deploy(int32_t max_drafts, const PrefixOptions& prefix) {
    store_.reset();  // its memory first
    auto plan = PlanCapacity({.model = model_,
                              .memory_bytes = 12 * kGiB,
                              .limits = {.max_sequences = kSequences,
                                         .max_step_tokens = kStepTokens,
                                         .max_drafts = max_drafts,
                                         .max_context_tokens = 2 * kStepTokens},
                              .prefix_reuse = prefix.enabled});
    Require(plan.status());
    auto ledger = Ledger::Create({.geometry = plan->geometry, .prefix = prefix});
    Require(ledger.status());
    ledger_ = *std::move(ledger);
    auto store = Store::Create({.model = model_, .geometry = plan->geometry}, backend_);
    Require(store.status());
    store_ = *std::move(store);
    Require(store_->SetRopeTables({rope_, rope_}));
  }

  void LaunchFloor() {
    const std::string work = "an empty kernel in a graph";
    if (!table_.Wants(work)) return;
    table_.Row(work,
               timer_.InGraph(kFloorCalls,
                              [](int, cudaStream_t stream) {
                                RequireCuda(static_cast<cudaError_t>(LaunchEmpty(stream)),
                                            "LaunchEmpty");
                              }),
               0);
  }

  void Prefill(int32_t tokens, int32_t first = 0) {
    const SequenceId id = Allocate(first + tokens);
    if (first > 0) Feed({{.id = id, .tokens = first}});
    const int32_t checkpoints = Begin({{.id = id, .tokens = tokens}});
    std::string step = absl::StrFormat("prefill of %d tokens", tokens);
    if (first > 0) step += absl::StrFormat(", from token %d on", first);
    if (checkpoints > 0) step += absl::StrFormat(", %d checkpoints", checkpoints);
    Csa(step, tokens, tokens * (10240.0 + (584 + 132) / 4.0) + checkpoints * kOverlapBytes);
    // HCA keeps nothing at a checkpoint.
    if (checkpoints == 0) Hca(step, tokens, tokens * (4096.0 + 584 / 128.0));
    Require(ledger_->FreeSequence(id));
  }

  // Sequences of 128 to 255 tokens, two of each length, take a token and `drafts` more.
  void Decode(int32_t drafts) {
    std::vector<StepRequest> decode;
    std::vector<StepRequest> feed;
    int32_t fed = 0;
    for (int32_t i = 0; i < kSequences; ++i) {
      const int32_t tokens = 128 + i % 128;
      if (fed + tokens > kStepTokens) {
        Feed(std::exchange(feed, {}));
        fed = 0;
      }
      const SequenceId id = Allocate(tokens + 1);
      feed.push_back({.id = id, .tokens = tokens});
      decode.push_back({.id = id, .tokens = 1 + drafts, .drafts = drafts});
      fed += tokens;
    }
    Feed(feed);
    Begin(decode);
    std::string step = absl::StrFormat("decode of %d sequences", kSequences);
    if (drafts > 0) step += absl::StrFormat(", %d drafts each", drafts);
    Csa(step, kSequences * (1 + drafts), 0);
    Hca(step, kSequences * (1 + drafts), 0);
    for (const StepRequest& request : decode) Require(ledger_->FreeSequence(request.id));
  }

 private:
  // Random rows, and learned parameters.
  struct Projection {
    int32_t width = 0;
    const float* kv = nullptr;     // [kInputRows, width]
    const float* score = nullptr;  // [kInputRows, width]
    const float* ape = nullptr;
    const uint16_t* weight = nullptr;
  };

  Projection MakeProjection(int32_t width, int32_t ratio) {
    return {.width = width,
            .kv = RandomRows(width),
            .score = RandomRows(width),
            .ape = OnDevice(*backend_, std::vector<float>(ratio * width, 0.25f)),
            .weight = OnDevice(*backend_, std::vector<uint16_t>(width, Bf16FromFloat(1.0f)))};
  }

  const float* RandomRows(int32_t width) {
    const int64_t count = kInputRows * width;
    float* const rows = OnDevice<float>(*backend_, count);
    std::vector<float> some(1 << 22);
    for (float& number : some) {
      random_ = random_ * 6364136223846793005u + 1442695040888963407u;
      number = static_cast<float>(static_cast<int32_t>(random_ >> 32)) * 0x1p-30f;  // -2 .. 2
    }
    for (int64_t at = 0; at < count; at += static_cast<int64_t>(some.size())) {
      const int64_t part = std::min<int64_t>(some.size(), count - at);
      Require(backend_->Upload(rows + at, some.data(), part * 4, Stream{}));
    }
    Require(backend_->Synchronize(Stream{}));
    return rows;
  }

  SequenceId Allocate(int32_t tokens) {
    const auto admission = ledger_->AllocateSequence({.tokens = std::vector<int32_t>(tokens, 1)});
    Require(admission.status());
    return admission->id;
  }

  // The checkpoints inside the step.
  int32_t Begin(const std::vector<StepRequest>& batch) {
    const auto plan = ledger_->Append(batch);
    Require(plan.status());
    Require(store_->Begin(*plan, Stream{}));
    Require(backend_->Synchronize(Stream{}));
    return plan->header().num_checkpoints - plan->sequences()[0].checkpoint_begin;
  }

  // A step that is not timed: what is timed begins where it ends.
  void Feed(const std::vector<StepRequest>& batch) {
    Begin(batch);
    for (const int layer : csa_layers_) Require(store_->Compress(layer, CsaInputs(0), Stream{}));
    for (const int layer : hca_layers_) Require(store_->Compress(layer, HcaInputs(0), Stream{}));
    Require(backend_->Synchronize(Stream{}));
  }

  static CompressPlaneIn From(const Projection& projection, int64_t row) {
    return {.kv = projection.kv + row * projection.width,
            .score = projection.score + row * projection.width,
            .ape = projection.ape,
            .norm_weight = projection.weight};
  }

  // The first input row of a call of `tokens`.
  static int64_t FirstRow(int call, int32_t tokens) {
    return call * int64_t{tokens} % (kInputRows - tokens + 1);
  }

  CompressInputs CsaInputs(int64_t row) const {
    CompressInputs inputs;
    inputs.latent = From(csa_latent_, row);
    inputs.indexer = From(csa_indexer_, row);
    return inputs;
  }
  CompressInputs HcaInputs(int64_t row) const {
    CompressInputs inputs;
    inputs.latent = From(hca_latent_, row);
    return inputs;
  }

  void Csa(const std::string& step, int32_t tokens, double bytes) {
    Row(step + ", CSA and indexer", bytes, csa_layers_, [&](int call, cudaStream_t stream) {
      Require(
          store_->Compress(csa_layers_[call], CsaInputs(FirstRow(call, tokens)), Stream{stream}));
    });
  }

  void Hca(const std::string& step, int32_t tokens, double bytes) {
    Row(step + ", HCA", bytes, hca_layers_, [&](int call, cudaStream_t stream) {
      Require(
          store_->Compress(hca_layers_[call], HcaInputs(FirstRow(call, tokens)), Stream{stream}));
    });
  }

  // A graph has each layer once, and finds all pages where the step begins.
  void Row(const std::string& work, double bytes, const std::vector<int>& layers,
           const GpuTimer::Work& call) {
    if (!table_.Wants(work)) return;
    const PageView first = StateOf(layers[0]);
    const int64_t headers = first.num_blocks * static_cast<int64_t>(layers.size());
    FedRange* const kept = OnDevice<FedRange>(*backend_, headers);
    const auto copy = [&](bool keep, cudaStream_t stream) {
      for (size_t i = 0; i < layers.size(); ++i) {
        const PageView pages = StateOf(layers[i]);
        FedRange* const ours = kept + i * first.num_blocks;
        RequireCuda(cudaMemcpy2DAsync(
                        keep ? ours : pages.base, keep ? sizeof(FedRange) : pages.block_stride,
                        keep ? pages.base : ours, keep ? pages.block_stride : sizeof(FedRange),
                        sizeof(FedRange), first.num_blocks, cudaMemcpyDefault, stream),
                    "cudaMemcpy2DAsync");
      }
    };
    copy(/*keep=*/true, nullptr);
    Require(backend_->Synchronize(Stream{}));
    const auto put_back = [&](cudaStream_t stream) {
      copy(/*keep=*/false, stream);
      // Until they have left the L2.
      RequireCuda(cudaMemsetAsync(scratch_, 0, kScratchBytes, stream), "cudaMemsetAsync");
    };
    table_.Row(work, timer_.InGraph(static_cast<int>(layers.size()), call, put_back), bytes);
    backend_->Free(kept, Stream{});
  }

  PageView StateOf(int layer) const {
    const auto pages = store_->Pages(layer, PoolKind::kState);
    Require(pages.status());
    return *pages;
  }

  std::shared_ptr<Backend> backend_;
  GpuTimer& timer_;
  BenchTable& table_;
  ModelSpec model_;
  RopeTableView rope_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Store> store_;
  std::vector<int> csa_layers_;
  std::vector<int> hca_layers_;
  Projection csa_latent_;
  Projection csa_indexer_;
  Projection hca_latent_;
  uint8_t* scratch_ = nullptr;
  uint64_t random_ = 1;
};

int Run(const std::string& filter) {
  auto made = MakeBackend({.kind = BackendKind::kCuda});
  if (!made.ok()) {
    std::printf("SKIPPED: %s\n", made.status().ToString().c_str());
    return 0;
  }
  const std::shared_ptr<Backend> backend = *std::move(made);
  cudaDeviceProp device;
  RequireCuda(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  GpuTimer timer;
  const double copy = CopyBandwidth(timer);
  std::printf("%s; copy %.0f GB/s (2 GiB device to device, read + written)\n", device.name, copy);
  BenchTable table(copy, filter);
  CompressBench bench(backend, timer, table);
  bench.LaunchFloor();
  bench.Deploy(/*max_drafts=*/0, {.enabled = false});
  bench.Prefill(4096);
  bench.Prefill(16384);
  bench.Prefill(4096, /*first=*/64);
  bench.Decode(/*drafts=*/0);
  bench.Deploy(/*max_drafts=*/4, {.enabled = false});
  bench.Decode(/*drafts=*/4);
  for (const CheckpointPolicy& policy :
       {CheckpointPolicy::EndOfPromptAndOutput(), CheckpointPolicy::EveryTokens(256)}) {
    bench.Deploy(/*max_drafts=*/0, {.checkpoints = policy});
    bench.Prefill(4096);
  }
  const Counters counters = backend->ReadCounters();
  if (counters.skipped_slots + counters.skipped_positions + counters.nonfinite_values != 0) {
    std::fprintf(stderr, "rows were skipped: the figures above are of less work than they say\n");
    return 1;
  }
  if (counters.stale_states != 0) {
    std::fprintf(stderr, "%llu state pages were stale: the figures above are of counting them\n",
                 static_cast<unsigned long long>(counters.stale_states));
    return 1;
  }
  if (table.num_rows() == 0) {
    std::fprintf(stderr, "'%s' is found in no row's name; see --help\n", filter.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace terrace::internal

int main(int argc, char** argv) {
  return terrace::internal::BenchMain(argc, argv, terrace::internal::kHelp,
                                      &terrace::internal::Run);
}
