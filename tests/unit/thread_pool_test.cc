#include "src/base/thread_pool.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace terrace::testing {
namespace {

using internal::ThreadPool;

TEST(ThreadPoolTest, EveryIndexIsCoveredOnce) {
  for (const int threads : {1, 2, 4}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 7, 64, 65, 1'000, 4'097}) {
      for (const int64_t piece : {1, 3, 64, 5'000}) {
        std::vector<int> covered(count, 0);
        pool.ParallelFor(count, piece, [&](int64_t begin, int64_t end) {
          ASSERT_LT(begin, end);
          for (int64_t i = begin; i < end; ++i) ++covered[i];
        });
        EXPECT_EQ(covered, std::vector<int>(count, 1)) << threads << " " << count << " " << piece;
      }
    }
  }
}

TEST(ThreadPoolTest, WhatOneCallWroteTheNextOneSees) {
  ThreadPool pool(4);
  std::vector<int64_t> values(1'000, 0);
  for (int round = 0; round < 2'000; ++round) {
    pool.ParallelFor(values.size(), 37, [&](int64_t begin, int64_t end) {
      // Pieces go to any thread: each value is read from whichever thread wrote it last.
      for (int64_t i = begin; i < end; ++i) values[i] += i;
    });
  }
  for (int64_t i = 0; i < 1'000; ++i) ASSERT_EQ(values[i], 2'000 * i);
}

TEST(ThreadPoolTest, SmallWorkStaysOnTheCaller) {
  ThreadPool pool(4);
  std::thread::id worker;
  pool.ParallelFor(64, 64, [&](int64_t, int64_t) { worker = std::this_thread::get_id(); });
  EXPECT_EQ(worker, std::this_thread::get_id());
}

TEST(ThreadPoolTest, LargeWorkRunsOnSeveralThreadsAtOnce) {
  ThreadPool pool(2);
  ASSERT_EQ(pool.threads(), 2);
  // Each of two pieces waits for the other: they end only if both run at the same time.
  std::atomic<int> arrived = 0;
  pool.ParallelFor(2, 1, [&](int64_t, int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  EXPECT_EQ(arrived, 2);
}

TEST(ThreadPoolTest, PoolsComeAndGo) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(3);
    std::atomic<int64_t> sum = 0;
    if (i % 2 == 0) pool.ParallelFor(10, 1, [&](int64_t begin, int64_t) { sum += begin; });
    EXPECT_EQ(sum, i % 2 == 0 ? 45 : 0);
  }
}

}  // namespace
}  // namespace terrace::testing
