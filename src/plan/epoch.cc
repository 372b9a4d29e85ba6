#include "src/plan/epoch.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <random>

namespace terrace::internal {
namespace {

// SplitMix64: every bit of the value reaches every bit of the result.
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// 0 where the system has no random numbers: the time and the process must do.
uint64_t RandomBits() {
  try {
    std::random_device device;
    return uint64_t{device()} << 32 | device();
  } catch (const std::exception&) {
    return 0;
  }
}

}  // namespace

uint64_t NewEpoch() {
  static std::atomic<uint64_t> count = 0;
  const uint64_t time =
      static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  const uint64_t process = static_cast<uint64_t>(getpid());
  return Mix(RandomBits() ^ Mix(time + Mix(process << 32 | ++count)));
}

}  // namespace terrace::internal
