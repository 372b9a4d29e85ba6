// ThreadPool splits a range of work over threads that live as long as the pool. The caller works
// too, and waits for the threads that joined, not for those still waking up.
//
// Thread-safe: no; one caller at a time.
// Cost: nothing is woken for work of at most one piece; else a wake-up of a few microseconds a
// thread, paid beside the caller's own work. No allocation.

#ifndef TERRACE_SRC_BASE_THREAD_POOL_H_
#define TERRACE_SRC_BASE_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace terrace::internal {

class ThreadPool {
 public:
  // `threads` counts the caller. Where the system refuses a thread, those it gave do the work.
  // REQUIRES: threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(begin, end) until every index of [0, count) was covered once, in pieces of at most
  // `piece`, each on some thread.
  // REQUIRES: piece >= 1; body is safe to call from several threads.
  template <typename Body>
  void ParallelFor(int64_t count, int64_t piece, const Body& body) {
    if (count <= 0) return;
    if (count <= piece || workers_.empty()) return body(int64_t{0}, count);
    Job job;
    job.count = count;
    job.piece = piece;
    job.body = &body;
    job.call = [](const void* erased, int64_t begin, int64_t end) {
      (*static_cast<const Body*>(erased))(begin, end);
    };
    Run(job);
  }

 private:
  struct Job {
    int64_t count = 0;
    int64_t piece = 1;
    const void* body = nullptr;
    void (*call)(const void* body, int64_t begin, int64_t end) = nullptr;
    std::atomic<int64_t> next = 0;  // first index that nobody has taken
  };

  void Run(Job& job);
  void WorkerLoop();
  static void TakePieces(Job& job);

  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::condition_variable workers_left_;
  Job* job_ = nullptr;     // guarded by mutex_; null where there is nothing to join
  uint64_t num_jobs_ = 0;  // guarded by mutex_
  int working_ = 0;        // guarded by mutex_: workers inside job_
  bool stopping_ = false;  // guarded by mutex_
  std::vector<std::thread> workers_;
};

}  // namespace terrace::internal

#endif  // TERRACE_SRC_BASE_THREAD_POOL_H_
