// Serves small models with layered compressed attention from a Terrace cache and checks what the
// attention reads, in seven ways. Prints a figure and PASS or FAIL each.
//
//   deepseek_v4_attention [auto|host|cuda]      exit: 0 all passed, 1 one failed, 2 bad usage

#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "examples/seven_checks.h"
#include "terrace/backend.h"

int main(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "auto";
  terrace::BackendOptions backend;
  if (kind == "host") {
    backend.kind = terrace::BackendKind::kHost;
  } else if (kind == "cuda") {
    backend.kind = terrace::BackendKind::kCuda;
  } else if (kind != "auto" || argc > 2) {
    std::fprintf(stderr, "usage: deepseek_v4_attention [auto|host|cuda]\n");
    return 2;
  }

  int failures = 0;
  for (const terrace::examples::Check check : terrace::examples::kSevenChecks) {
    const absl::StatusOr<terrace::examples::CheckResult> result = check(backend);
    if (!result.ok()) {
      std::printf("FAIL  %s\n", result.status().ToString().c_str());
      ++failures;
      continue;
    }
    std::printf("%s  %s: %.6f (at least %g)%s%s\n", result->passed() ? "PASS" : "FAIL",
                result->what.c_str(), result->figure, result->at_least,
                result->failed.empty() ? "" : ": ", result->failed.c_str());
    failures += !result->passed();
  }
  return failures == 0 ? 0 : 1;
}
