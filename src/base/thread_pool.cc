#include "src/base/thread_pool.h"

#include <algorithm>
#include <system_error>

namespace terrace::internal {

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(threads - 1);
  for (int i = 1; i < threads; ++i) {
    try {
      workers_.emplace_back([this] { WorkerLoop(); });
    } catch (const std::system_error&) {
      return;  // out of threads; the pool is correct with any number
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  work_arrived_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::TakePieces(Job& job) {
  for (;;) {
    const int64_t begin = job.next.fetch_add(job.piece, std::memory_order_relaxed);
    if (begin >= job.count) return;
    job.call(job.body, begin, std::min(begin + job.piece, job.count));
  }
}

void ThreadPool::Run(Job& job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = &job;
    ++num_jobs_;
  }
  const int64_t pieces = (job.count - 1) / job.piece + 1;
  if (pieces > static_cast<int64_t>(workers_.size())) {
    work_arrived_.notify_all();
  } else {
    for (int64_t i = 1; i < pieces; ++i) work_arrived_.notify_one();
  }
  TakePieces(job);
  std::unique_lock<std::mutex> lock(mutex_);
  job_ = nullptr;  // a worker that wakes up from here on finds nothing to join
  workers_left_.wait(lock, [this] { return working_ == 0; });
}

void ThreadPool::WorkerLoop() {
  uint64_t jobs_seen = 0;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_arrived_.wait(lock,
                       [&] { return stopping_ || (job_ != nullptr && num_jobs_ != jobs_seen); });
    if (stopping_) return;
    Job& job = *job_;
    jobs_seen = num_jobs_;
    ++working_;
    lock.unlock();
    TakePieces(job);
    lock.lock();
    if (--working_ == 0) workers_left_.notify_one();
  }
}

}  // namespace terrace::internal
