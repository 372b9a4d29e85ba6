// EntryLock lets one thread into an object at a time, and turns others away instead of making them
// wait: Python drops its own lock while a call works, and a second thread may come in meanwhile.

#ifndef TERRACE_PYTHON_SRC_ENTRY_LOCK_H_
#define TERRACE_PYTHON_SRC_ENTRY_LOCK_H_

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace terrace::python {

// Thread-safe: yes.
class EntryLock {
 public:
  explicit EntryLock(const char* what) : what_(what) {}

  // Alone, or together with others that share.
  bool TryEnter() {
    int32_t nobody = 0;
    return inside_.compare_exchange_strong(nobody, kAlone, std::memory_order_acquire);
  }
  bool TryShare() {
    int32_t inside = inside_.load(std::memory_order_relaxed);
    while (inside >= 0) {
      if (inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acquire)) return true;
    }
    return false;
  }
  void Leave() { inside_.store(0, std::memory_order_release); }
  void Unshare() { inside_.fetch_sub(1, std::memory_order_release); }

  // Errors: Python's RuntimeError.
  [[noreturn]] void Refuse() const {
    throw std::runtime_error(std::string(what_) +
                             " is in use by another thread; give it one thread at a time");
  }

 private:
  static constexpr int32_t kAlone = -1;
  std::atomic<int32_t> inside_{0};  // how many share, or kAlone
  const char* what_;
};

// For the time of one call.
class [[nodiscard]] Entered {
 public:
  explicit Entered(EntryLock& lock) : lock_(lock) {
    if (!lock.TryEnter()) lock.Refuse();
  }
  ~Entered() { lock_.Leave(); }
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  EntryLock& lock_;
};

class [[nodiscard]] Shared {
 public:
  explicit Shared(EntryLock& lock) : lock_(lock) {
    if (!lock.TryShare()) lock.Refuse();
  }
  ~Shared() { lock_.Unshare(); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;

 private:
  EntryLock& lock_;
};

}  // namespace terrace::python

#endif  // TERRACE_PYTHON_SRC_ENTRY_LOCK_H_
