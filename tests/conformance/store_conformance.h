// One suite over every backend: store_operations, store_errors, store_checkpoints and store_random
// hold its tests, and each backend's test instantiates StoreTest and StoreRandomTest with its
// factory.

#ifndef TERRACE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_
#define TERRACE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_

#include <tuple>

#include "tests/support/store_fixture.h"

namespace terrace::testing {

inline constexpr int kNumScenarios = 60;  // all formats x block sizes x layouts
#ifdef TERRACE_SANITIZED
inline constexpr int kScenarioStride = 11;  // each format and each block size at least once
#else
inline constexpr int kScenarioStride = 1;
#endif
inline constexpr int kScenarioSteps = 30;

class StoreRandomTest : public ::testing::TestWithParam<std::tuple<BackendFactory, int>> {};

}  // namespace terrace::testing

#endif  // TERRACE_TESTS_CONFORMANCE_STORE_CONFORMANCE_H_
