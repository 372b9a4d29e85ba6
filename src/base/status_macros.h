// Early return of a failed absl::Status. Private: no public header includes this.
//
//   TERRACE_RETURN_IF_ERROR(CheckRequest(request));
//   TERRACE_ASSIGN_OR_RETURN(const Plan plan, ledger.Append(batch));
//
// Both are for functions that return absl::Status or absl::StatusOr.

#ifndef TERRACE_SRC_BASE_STATUS_MACROS_H_
#define TERRACE_SRC_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Evaluates `expression`, an absl::Status, once; returns it from the function if it is an error.
#define TERRACE_RETURN_IF_ERROR(expression)     \
  do {                                          \
    absl::Status terrace_status = (expression); \
    if (!terrace_status.ok()) [[unlikely]]      \
      return terrace_status;                    \
  } while (false)

// Evaluates `expression`, an absl::StatusOr<T>, once; returns its status from the function if it is
// an error, and otherwise moves its value to `target`: a variable, or the declaration of one.
// Two statements: not for the branch of an `if` without braces. A `target` with a comma outside
// parentheses, as in std::pair<int, int>, needs `auto`.
#define TERRACE_ASSIGN_OR_RETURN(target, expression) \
  TERRACE_ASSIGN_OR_RETURN_AT(TERRACE_STATUS_NAME(terrace_or_, __LINE__), target, expression)

// A declaration takes no parentheses.  NOLINTBEGIN(bugprone-macro-parentheses)
#define TERRACE_ASSIGN_OR_RETURN_AT(result, target, expression) \
  auto result = (expression);                                   \
  if (!result.ok()) [[unlikely]]                                \
    return std::move(result).status();                          \
  target = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)

#define TERRACE_STATUS_NAME(prefix, line) TERRACE_STATUS_NAME_OF(prefix, line)
#define TERRACE_STATUS_NAME_OF(prefix, line) prefix##line

#endif  // TERRACE_SRC_BASE_STATUS_MACROS_H_
