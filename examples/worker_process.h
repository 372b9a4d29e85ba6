// WorkerProcess is a worker in a process of its own, seen from the scheduler's: plans go to it
// through one pipe, answers come back through another. Plumbing that an engine has already.

#ifndef TERRACE_EXAMPLES_WORKER_PROCESS_H_
#define TERRACE_EXAMPLES_WORKER_PROCESS_H_

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "terrace/model.h"

namespace terrace::examples {

// What a worker gets for a step: the plan, and what its model computes from.
struct StepMessage {
  std::vector<std::byte> plan;  // Plan::bytes()
  // Of each sequence of the plan: the first position whose window row exists, then the ids of all
  // its tokens up to the last one of the step.
  std::vector<int32_t> sequences;
};

// What a worker answers.
struct StepAnswer {
  int32_t code = 0;        // absl::StatusCode
  int32_t wrong_rows = 0;  // rows that a query read and that are not what was computed
  int64_t compared_rows = 0;
  uint64_t last_plan = 0;  // that it ran
};

// What travels through a pipe.
inline bool ReadAll(int file, void* to, size_t bytes) {
  for (char* at = static_cast<char*>(to); bytes > 0;) {
    const ssize_t got = read(file, at, bytes);
    if (got <= 0) return false;
    at += got;
    bytes -= got;
  }
  return true;
}

inline bool WriteAll(int file, const void* from, size_t bytes) {
  for (const char* at = static_cast<const char*>(from); bytes > 0;) {
    const ssize_t put = write(file, at, bytes);
    if (put <= 0) return false;
    at += put;
    bytes -= put;
  }
  return true;
}

inline bool Send(int file, const StepMessage& message) {
  const uint64_t sizes[] = {message.plan.size(), message.sequences.size()};
  return WriteAll(file, sizes, sizeof(sizes)) && WriteAll(file, message.plan.data(), sizes[0]) &&
         WriteAll(file, message.sequences.data(), sizes[1] * sizeof(int32_t));
}

inline bool Receive(int file, StepMessage& message) {
  uint64_t sizes[2];
  if (!ReadAll(file, sizes, sizeof(sizes))) return false;
  message.plan.resize(sizes[0]);
  message.sequences.resize(sizes[1]);
  return ReadAll(file, message.plan.data(), sizes[0]) &&
         ReadAll(file, message.sequences.data(), sizes[1] * sizeof(int32_t));
}

class WorkerProcess {
 public:
  // Runs this program again, as "worker FIRST COUNT". Null where there is no process to be had.
  static std::unique_ptr<WorkerProcess> Start(LayerRange layers) {
    int plans[2];
    int answers[2];
    if (pipe2(plans, O_CLOEXEC) != 0) return nullptr;
    if (pipe2(answers, O_CLOEXEC) != 0) return nullptr;
    const std::string first = std::to_string(layers.first);
    const std::string count = std::to_string(layers.count);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(plans[0], STDIN_FILENO);
      dup2(answers[1], STDOUT_FILENO);
      execl("/proc/self/exe", "worker_process", "worker", first.c_str(), count.c_str(), nullptr);
      _exit(127);
    }
    close(plans[0]);
    close(answers[1]);
    if (pid < 0) return nullptr;
    return std::unique_ptr<WorkerProcess>(new WorkerProcess(pid, plans[1], answers[0]));
  }
  ~WorkerProcess() {
    Kill();
    close(plans_);
    close(answers_);
  }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // False where the worker is dead.
  bool Send(const StepMessage& message) { return examples::Send(plans_, message); }
  bool Receive(StepAnswer& answer) { return ReadAll(answers_, &answer, sizeof(answer)); }

  void Kill() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  WorkerProcess(pid_t pid, int plans, int answers) : pid_(pid), plans_(plans), answers_(answers) {}

  pid_t pid_;
  int plans_;
  int answers_;
};

}  // namespace terrace::examples

#endif  // TERRACE_EXAMPLES_WORKER_PROCESS_H_
