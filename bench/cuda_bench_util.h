// What the GPU benches share: time measured in CUDA graphs, device copy bandwidth, and a table.

#ifndef TERRACE_BENCH_CUDA_BENCH_UTIL_H_
#define TERRACE_BENCH_CUDA_BENCH_UTIL_H_

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "src/backend/kernel_backend.h"
#include "terrace/backend.h"

namespace terrace::internal {

// A bench that cannot go on says why and ends.
inline void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}
inline void RequireCuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", call, cudaGetErrorString(error));
  std::exit(1);
}

// The kernel calls of a backend of the library.
inline KernelBackend& Kernels(Backend& backend) { return *KernelBackend::Of(backend); }

// Elements in a backend's memory for as long as the bench runs.
template <typename T>
T* OnDevice(Backend& backend, int64_t count) {
  absl::StatusOr<void*> memory = backend.Allocate(count * int64_t{sizeof(T)}, Stream{});
  Require(memory.status());
  return static_cast<T*>(*memory);
}
template <typename T>
T* OnDevice(Backend& backend, const std::vector<T>& values) {
  const int64_t count = static_cast<int64_t>(values.size());
  T* memory = OnDevice<T>(backend, count);
  Require(backend.Upload(memory, values.data(), count * int64_t{sizeof(T)}, Stream{}));
  Require(backend.Synchronize(Stream{}));
  return memory;
}

// Times work on a stream of its own.
class GpuTimer {
 public:
  // One call of the work to be timed; `call` counts from 0 and chooses among buffers, so that they
  // rotate past the L2.
  using Work = std::function<void(int call, cudaStream_t stream)>;

  GpuTimer() {
    RequireCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    RequireCuda(cudaEventCreate(&begin_), "cudaEventCreate");
    RequireCuda(cudaEventCreate(&end_), "cudaEventCreate");
  }

  // Microseconds a call: `calls` of them in a graph, the median of its replays. Each replay waits
  // behind another, so that the host has launched it before the time begins.
  double InGraph(int calls, const Work& work) {
    return InGraph(calls, work, [](cudaStream_t) {});
  }
  // The same, with what `prepare` does before every replay. That is not timed.
  double InGraph(int calls, const Work& work, const std::function<void(cudaStream_t)>& prepare) {
    prepare(stream_);
    work(0, stream_);  // loads the code
    RequireCuda(cudaStreamSynchronize(stream_), "warm-up");
    cudaGraphExec_t prepared = Capture([&] { prepare(stream_); });
    cudaGraphExec_t timed = Capture([&] {
      for (int call = 0; call < calls; ++call) work(call, stream_);
    });
    const auto launch = [&](cudaGraphExec_t graph) {
      RequireCuda(cudaGraphLaunch(graph, stream_), "cudaGraphLaunch");
    };
    const auto before = [&] {
      for (cudaGraphExec_t graph : {prepared, timed, prepared}) launch(graph);
    };
    const double micros = Median(before, [&] { launch(timed); }) / calls;
    for (cudaGraphExec_t graph : {prepared, timed}) {
      RequireCuda(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
    }
    return micros;
  }

  // Microseconds a call, `calls` of them issued one after the other.
  double OnStream(int calls, const Work& work) {
    const auto issue = [&] {
      for (int call = 0; call < calls; ++call) work(call, stream_);
    };
    return Median([] {}, issue) / calls;
  }

 private:
  // What `issue` issues, as a graph.
  cudaGraphExec_t Capture(const std::function<void()>& issue) {
    RequireCuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeGlobal), "begin capture");
    issue();
    cudaGraph_t graph = nullptr;
    RequireCuda(cudaStreamEndCapture(stream_, &graph), "end capture");
    cudaGraphExec_t exec = nullptr;
    RequireCuda(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
    RequireCuda(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return exec;
  }

  // Microseconds of what `issue` issues, behind what `before` does.
  double Median(const std::function<void()>& before, const std::function<void()>& issue) {
    constexpr int kWarmUps = 3;
    constexpr int kRuns = 15;
    std::vector<float> millis(kRuns);
    for (int run = -kWarmUps; run < kRuns; ++run) {
      before();
      RequireCuda(cudaEventRecord(begin_, stream_), "cudaEventRecord");
      issue();
      RequireCuda(cudaEventRecord(end_, stream_), "cudaEventRecord");
      RequireCuda(cudaEventSynchronize(end_), "timed work");
      if (run < 0) continue;
      RequireCuda(cudaEventElapsedTime(&millis[run], begin_, end_), "cudaEventElapsedTime");
    }
    std::nth_element(millis.begin(), millis.begin() + kRuns / 2, millis.end());
    return 1e3 * millis[kRuns / 2];
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

// GB/s of cudaMemcpyAsync, 2 GiB device to device, outside a graph; bytes read + written.
inline double CopyBandwidth(GpuTimer& timer) {
  constexpr size_t kBytes = size_t{2} << 30;
  void* from = nullptr;
  void* to = nullptr;
  RequireCuda(cudaMalloc(&from, kBytes), "cudaMalloc");
  RequireCuda(cudaMalloc(&to, kBytes), "cudaMalloc");
  RequireCuda(cudaMemset(from, 0x5A, kBytes), "cudaMemset");
  RequireCuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const double micros = timer.OnStream(4, [&](int, cudaStream_t stream) {
    RequireCuda(cudaMemcpyAsync(to, from, kBytes, cudaMemcpyDeviceToDevice, stream),
                "cudaMemcpyAsync");
  });
  RequireCuda(cudaFree(from), "cudaFree");
  RequireCuda(cudaFree(to), "cudaFree");
  return 2 * kBytes / micros / 1e3;
}

// Prints one line a measurement whose name is asked for: the regular expression `filter` matches a
// part of it.
class BenchTable {
 public:
  BenchTable(double copy_gigabytes_per_second, const std::string& filter)
      : copy_(copy_gigabytes_per_second), filter_(filter) {
    std::printf("%-58s %10s %8s %6s\n", "work", "us", "GB/s", "copy");
  }

  // Ask before measuring.
  bool Wants(const std::string& work) const { return std::regex_search(work, filter_); }
  int num_rows() const { return num_rows_; }

  // `bytes` are counted once, rows read plus rows written; 0 where latency is the matter.
  void Row(const std::string& work, double micros, double bytes) {
    std::printf("%-58s %10.2f", work.c_str(), micros);
    if (bytes > 0) {
      const double rate = bytes / micros / 1e3;
      std::printf(" %8.0f %5.1f%%", rate, 100 * rate / copy_);
    }
    std::printf("\n");
    std::fflush(stdout);
    ++num_rows_;
  }

 private:
  double copy_;
  std::regex filter_;
  int num_rows_ = 0;
};

// The main() of a GPU bench: [FILTER | --benchmark_filter=FILTER | --help]. The second is how
// Google Benchmark spells it, so that a script can pass one filter to any bench.
inline int BenchMain(int argc, char** argv, const char* help,
                     int (*run)(const std::string& filter)) {
  constexpr absl::string_view kOption = "--benchmark_filter=";
  std::string filter = argc > 1 ? argv[1] : "";
  if (absl::StartsWith(filter, kOption)) filter.erase(0, kOption.size());
  if (argc == 2 && filter == "--help") {
    std::fputs(help, stdout);
    return 0;
  }
  if (argc > 2 || absl::StartsWith(filter, "-")) {
    std::fputs(help, stderr);
    return 2;
  }
  try {
    return run(filter);
  } catch (const std::regex_error& error) {
    std::fprintf(stderr, "'%s' is no regular expression: %s\n", filter.c_str(), error.what());
    return 2;
  }
}

}  // namespace terrace::internal

#endif  // TERRACE_BENCH_CUDA_BENCH_UTIL_H_
