// Checks for broken invariants: programmer errors inside Terrace, never bad input (that is an
// absl::Status). A failed check prints the expression, both values and the place, then aborts.
//
// TERRACE_CHECK_xx stays on in release builds; TERRACE_DCHECK_xx is for loops and vanishes with
// NDEBUG. TERRACE_CHECK_OK takes an absl::Status or absl::StatusOr and prints its message.

#ifndef TERRACE_SRC_BASE_CHECK_H_
#define TERRACE_SRC_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

namespace terrace::internal {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* expression,
                                     long long left, long long right) {
  std::fprintf(stderr, "%s:%d: check failed: %s (%lld vs %lld)\n", file, line, expression, left,
               right);
  std::abort();
}

// A template, so that whoever checks no status includes none.
template <typename Status>
inline const Status& StatusIn(const Status& status) {
  return status;
}
template <template <typename> typename StatusOr, typename T>
inline decltype(auto) StatusIn(const StatusOr<T>& status_or) {
  return status_or.status();
}

template <typename Status>
[[noreturn]] void CheckOkFailed(const char* file, int line, const char* expression,
                                const Status& status) {
  std::fprintf(stderr, "%s:%d: check failed: %s is OK (%s)\n", file, line, expression,
               status.ToString().c_str());
  std::abort();
}

}  // namespace terrace::internal

#define TERRACE_CHECK_OP(left, op, right)                                                          \
  do {                                                                                             \
    const auto terrace_left = static_cast<long long>(left);                                        \
    const auto terrace_right = static_cast<long long>(right);                                      \
    if (!(terrace_left op terrace_right)) [[unlikely]] {                                           \
      ::terrace::internal::CheckFailed(__FILE__, __LINE__, #left " " #op " " #right, terrace_left, \
                                       terrace_right);                                             \
    }                                                                                              \
  } while (false)

#define TERRACE_CHECK_EQ(left, right) TERRACE_CHECK_OP(left, ==, right)
#define TERRACE_CHECK_NE(left, right) TERRACE_CHECK_OP(left, !=, right)
#define TERRACE_CHECK_LT(left, right) TERRACE_CHECK_OP(left, <, right)
#define TERRACE_CHECK_LE(left, right) TERRACE_CHECK_OP(left, <=, right)
#define TERRACE_CHECK_GT(left, right) TERRACE_CHECK_OP(left, >, right)
#define TERRACE_CHECK_GE(left, right) TERRACE_CHECK_OP(left, >=, right)

#define TERRACE_CHECK_OK(expression)                                                      \
  do {                                                                                    \
    const auto& terrace_checked = (expression);                                           \
    if (!terrace_checked.ok()) [[unlikely]] {                                             \
      ::terrace::internal::CheckOkFailed(__FILE__, __LINE__, #expression,                 \
                                         ::terrace::internal::StatusIn(terrace_checked)); \
    }                                                                                     \
  } while (false)

#ifdef NDEBUG
#define TERRACE_DCHECK_LT(left, right) static_cast<void>(0)
#define TERRACE_DCHECK_LE(left, right) static_cast<void>(0)
#define TERRACE_DCHECK_EQ(left, right) static_cast<void>(0)
#else
#define TERRACE_DCHECK_LT(left, right) TERRACE_CHECK_LT(left, right)
#define TERRACE_DCHECK_LE(left, right) TERRACE_CHECK_LE(left, right)
#define TERRACE_DCHECK_EQ(left, right) TERRACE_CHECK_EQ(left, right)
#endif

#endif  // TERRACE_SRC_BASE_CHECK_H_
