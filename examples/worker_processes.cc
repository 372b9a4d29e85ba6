// A scheduler and two worker processes, on the host backend. At random steps a worker is killed by
// SIGKILL, or a message to it is lost. The scheduler recovers, and every row that a query reads is
// compared with what was computed for it.
//
//   worker_processes [SEED]      exit: 0 no row was wrong, 1 otherwise; without a seed it draws one
//   worker_processes worker FIRST COUNT      a worker of these layers; the program starts it itself

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "examples/process_scheduler.h"
#include "examples/worker_main.h"

namespace terrace::examples {
namespace {

constexpr int kSteps = 150;

absl::Status Run(uint64_t seed) {
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  absl::StatusOr<std::unique_ptr<ProcessScheduler>> scheduler = ProcessScheduler::Make(seed);
  if (!scheduler.ok()) return scheduler.status();
  std::mt19937_64 random(~seed);
  for (int step = 0; step < kSteps; ++step) {
    const uint64_t draw = random() % 32;
    const Fault fault = draw == 0 ? Fault::kKilled : draw <= 2 ? Fault::kMessageLost : Fault::kNone;
    absl::Status status = (*scheduler)->Step(fault, static_cast<int>(random() % 2));
    if (!status.ok()) return status;
  }
  const ProcessScheduler::Figures& figures = (*scheduler)->figures();
  std::printf("steps %d, messages lost %d, workers killed %d, recoveries %d\n", figures.steps,
              figures.lost_messages, figures.deaths, figures.recoveries);
  std::printf("tokens fed %lld, of them again %lld; rows compared %lld, wrong %lld\n",
              static_cast<long long>(figures.fed_tokens), static_cast<long long>(figures.fed_again),
              static_cast<long long>(figures.compared_rows),
              static_cast<long long>(figures.wrong_rows));
  if (figures.wrong_rows > 0) return absl::DataLossError("a query read what nobody computed");
  return absl::OkStatus();
}

}  // namespace
}  // namespace terrace::examples

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "worker") {
    return terrace::examples::WorkerMain(argc, argv);
  }
  const uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device()();
  const absl::Status status = terrace::examples::Run(seed);
  std::printf("%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
