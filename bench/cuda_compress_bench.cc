// Compress on a GPU: prefill chunks of one sequence and decode steps of 256, a layer a call, in a
// graph. Calls rotate through the model's layers, whose states are pages of their own, and through
// more input than any L2 holds. Bytes are counted once: float32 rows read and rows stored.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "bench/cuda_bench_util.h"
#include "terrace/bf16.h"
#include "terrace/capacity.h"
#include "terrace/compress_state.h"
#include "terrace/ledger.h"
#include "terrace/rope.h"
#include "terrace/store.h"
#include "terrace/units.h"

namespace terrace {
namespace {

constexpr int32_t kSequences = 256;
constexpr int32_t kStepTokens = 16384;
constexpr int64_t kInputRows = 4 * kStepTokens;  // that calls rotate through
constexpr int kCalls = 40;                       // of a graph

class CompressBench {
 public:
  CompressBench(std::shared_ptr<Backend> backend, GpuTimer& timer, BenchTable& table)
      : backend_(std::move(backend)), timer_(timer), table_(table) {
    const LayeredModelOptions options = ModelOptionsByName("deepseek-v4-flash").value();
    const ModelSpec model = MakeModel(options).value();
    auto plan = PlanCapacity({.model = model,
                              .memory_bytes = 12 * kGiB,
                              .limits = {.max_sequences = kSequences,
                                         .max_step_tokens = kStepTokens,
                                         .max_context_tokens = 2 * kStepTokens},
                              .prefix_reuse = false});
    Require(plan.status());
    auto ledger = Ledger::Create({.geometry = plan->geometry, .prefix = {.enabled = false}});
    Require(ledger.status());
    ledger_ = *std::move(ledger);
    auto store = Store::Create({.model = model, .geometry = plan->geometry}, backend_);
    Require(store.status());
    store_ = *std::move(store);
    const RopeTableView rope = {
        OnDevice(*backend_, MakeRopeTable(kStepTokens, kRopeBaseCompressed, YarnScaling{})),
        kStepTokens};
    Require(store_->SetRopeTables({rope, rope}));
    for (int layer = 0; layer < static_cast<int>(options.ratios.size()); ++layer) {
      if (options.ratios[layer] == kCsaRatio) csa_layers_.push_back(layer);
      if (options.ratios[layer] == kHcaRatio) hca_layers_.push_back(layer);
    }
    csa_latent_ = MakeProjection(2 * kLatentChannels, kCsaRatio);
    csa_indexer_ = MakeProjection(2 * kIndexerChannels, kCsaRatio);
    hca_latent_ = MakeProjection(kLatentChannels, kHcaRatio);
  }

  void Prefill(int32_t tokens) {
    const SequenceId id = Allocate(tokens);
    Begin({{.id = id, .tokens = tokens}});
    const double csa_bytes = tokens * (10240.0 + (584 + 132) / 4.0);
    const double hca_bytes = tokens * (4096.0 + 584 / 128.0);
    Time(absl::StrFormat("prefill of %d tokens", tokens), tokens, csa_bytes, hca_bytes);
    Require(ledger_->FreeSequence(id));
  }

  // A quarter of the CSA windows close, and every 128th HCA window.
  void Decode() {
    std::vector<StepRequest> decode;
    std::vector<StepRequest> feed;
    int32_t fed = 0;
    for (int32_t i = 0; i < kSequences; ++i) {
      const int32_t tokens = 128 + i % 128;
      if (fed + tokens > kStepTokens) {
        Begin(std::exchange(feed, {}));
        fed = 0;
      }
      const SequenceId id = Allocate(tokens + 1);
      feed.push_back({.id = id, .tokens = tokens});
      decode.push_back({.id = id});
      fed += tokens;
    }
    Begin(feed);
    Begin(decode);
    Time(absl::StrFormat("decode of %d sequences", kSequences), kSequences, 0, 0);
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

  void Begin(const std::vector<StepRequest>& batch) {
    const auto plan = ledger_->Append(batch);
    Require(plan.status());
    Require(store_->Begin(*plan, Stream{}));
    Require(backend_->Synchronize(Stream{}));
  }

  static CompressPlaneIn From(const Projection& projection, int64_t row) {
    return {.kv = projection.kv + row * projection.width,
            .score = projection.score + row * projection.width,
            .ape = projection.ape,
            .norm_weight = projection.weight};
  }

  void Time(const std::string& step, int32_t tokens, double csa_bytes, double hca_bytes) {
    const auto row = [&](int call) { return call * int64_t{tokens} % (kInputRows - tokens + 1); };
    const double csa = timer_.InGraph(kCalls, [&](int call, cudaStream_t stream) {
      CompressInputs inputs;
      inputs.latent = From(csa_latent_, row(call));
      inputs.indexer = From(csa_indexer_, row(call));
      Require(store_->Compress(csa_layers_[call % csa_layers_.size()], inputs, stream));
    });
    table_.Row(step + ", CSA and indexer", csa, csa_bytes);
    const double hca = timer_.InGraph(kCalls, [&](int call, cudaStream_t stream) {
      CompressInputs inputs;
      inputs.latent = From(hca_latent_, row(call));
      Require(store_->Compress(hca_layers_[call % hca_layers_.size()], inputs, stream));
    });
    table_.Row(step + ", HCA", hca, hca_bytes);
  }

  std::shared_ptr<Backend> backend_;
  GpuTimer& timer_;
  BenchTable& table_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<Store> store_;
  std::vector<int> csa_layers_;
  std::vector<int> hca_layers_;
  Projection csa_latent_;
  Projection csa_indexer_;
  Projection hca_latent_;
  uint64_t random_ = 1;
};

int Run() {
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
  BenchTable table(copy);
  CompressBench bench(backend, timer, table);
  bench.Prefill(4096);
  bench.Prefill(16384);
  bench.Decode();
  const Counters counters = backend->ReadCounters();
  if (counters.skipped_slots + counters.skipped_positions + counters.nonfinite_values != 0) {
    std::fprintf(stderr, "rows were skipped: the figures above are of less work than they say\n");
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace terrace

int main() { return terrace::Run(); }
