// The main function of a worker process.

#ifndef TERRACE_EXAMPLES_WORKER_MAIN_H_
#define TERRACE_EXAMPLES_WORKER_MAIN_H_

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "examples/checked_worker.h"
#include "examples/worker_process.h"

namespace terrace::examples {

// `argv` is program, "worker", first layer, number of layers. Ends when its scheduler has gone.
inline int WorkerMain(int argc, char** argv) {
  if (argc != 4) return 2;
  auto worker = CheckedWorker::Make({.first = std::atoi(argv[2]), .count = std::atoi(argv[3])});
  if (!worker.ok()) {
    std::fprintf(stderr, "worker: %s\n", worker.status().ToString().c_str());
    return 1;
  }
  for (StepMessage message; Receive(STDIN_FILENO, message);) {
    const StepAnswer answer = (*worker)->Step(message);
    if (!WriteAll(STDOUT_FILENO, &answer, sizeof(answer))) break;
  }
  return 0;
}

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_WORKER_MAIN_H_
