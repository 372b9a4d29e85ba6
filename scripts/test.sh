#!/usr/bin/env bash
# Installs what is missing, builds, and runs every check this machine can run. What it cannot run is
# listed as SKIPPED with the reason. Exits 0 iff nothing failed. Running it again is quick: build
# folders are kept.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

usage() {
  cat <<'USAGE'
usage: scripts/test.sh [--quick] [--help]

  (none)    release tests, all GPU architectures compiled, sanitizers, the fuzz target, formatting,
            clang-tidy, the outside project, the commands of README.md
  --quick   formatting and release tests alone

Environment: TERRACE_TIDY_SECONDS bounds clang-tidy (default 240, less in a long run),
TERRACE_FUZZ_SECONDS (default 60) is how long the fuzz target runs; JOBS (default: all cores).
USAGE
}

quick=
for argument in "$@"; do
  case "$argument" in
    --quick) quick=1 ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
done

JOBS="${JOBS:-$(nproc)}"
logs=build-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
summary=()
start=$SECONDS

record() {  # record PASSED|FAILED|SKIPPED: text
  summary+=("$*")
  echo "$*"
}

skip() {
  skipped=$((skipped + 1))
  record "SKIPPED: $*"
}

# check NAME COMMAND...: one check; its output goes to a log, whose end is shown if it fails.
check() {
  local name=$1 log from=$SECONDS
  log="$logs/${name// /_}.log"
  shift
  echo "== $name"
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    record "PASSED: $name ($((SECONDS - from)) s)"
  else
    failed=$((failed + 1))
    tail -n 60 "$log"
    record "FAILED: $name ($((SECONDS - from)) s, all of it in $log)"
    return 1
  fi
}

# run_tests NAME DIR [CTEST OPTIONS...]: counts every test of a build folder.
run_tests() {
  local name=$1 dir=$2 log junit counts from=$SECONDS
  shift 2
  log="$logs/${name// /_}.log"
  junit="$PWD/$logs/${name// /_}.xml"
  rm -f "$junit"
  echo "== $name"
  ctest --test-dir "$dir" -j "$JOBS" --output-on-failure --no-tests=error --timeout 600 \
    --output-junit "$junit" "$@" >"$log" 2>&1
  local status=$?
  last_ctest_log=$log
  attribute() { sed -n "s/.*[[:space:]]$1=\"\([0-9]*\)\".*/\1/p" "$junit" | head -n 1; }
  if [[ ! -f "$junit" ]]; then
    failed=$((failed + 1))
    tail -n 40 "$log"
    record "FAILED: $name: no test ran"
    return 1
  fi
  local total failures skips
  total=$(attribute tests) failures=$(attribute failures) skips=$(attribute skipped)
  passed=$((passed + total - failures - skips))
  failed=$((failed + failures))
  skipped=$((skipped + skips))
  counts="$((total - failures - skips)) passed, $failures failed, $skips skipped"
  if ((status != 0)); then
    ((failures > 0)) || failed=$((failed + 1))
    grep -E -A 40 '\[  FAILED  \]|\*\*\*Failed|\*\*\*Exception|\*\*\*Timeout|ERROR: |WARNING: Thread' "$log" |
      head -n 120
    record "FAILED: $name: $counts (all of it in $log)"
    return 1
  fi
  record "PASSED: $name: $counts ($((SECONDS - from)) s)"
  ((skips == 0)) || record "SKIPPED: $skips of $name: ${gpu_missing:-see $log}"
}

check_format() {
  git ls-files '*.h' '*.cc' '*.cu' '*.cuh' |
    xargs clang-format --dry-run -Werror
}

# clang-tidy on host files, several at a time, until the time is up.
check_tidy() {
  local dir=$1 left=$((1080 - (SECONDS - start))) limit sources
  left=$((left < 15 ? 15 : left > 240 ? 240 : left))
  limit="${TERRACE_TIDY_SECONDS:-$left}"
  mapfile -t sources < <(git ls-files 'src/*.cc' 'tools/*.cc')
  export TIDY_DIR=$dir TIDY_UNTIL=$(($(date +%s) + limit)) TIDY_LEFT=$logs/tidy_left.txt
  : >"$TIDY_LEFT"
  printf '%s\n' "${sources[@]}" | xargs -P "$JOBS" -n 1 bash -c '
    if (($(date +%s) >= TIDY_UNTIL)); then
      echo "$1" >>"$TIDY_LEFT"
    else
      clang-tidy --quiet -p "$TIDY_DIR" "$1"
    fi' tidy
}

# Every command of README.md's sh blocks but this script, as a reader would type it.
check_readme() {
  local commands status=0
  export PATH="$PWD/build-release/bin:$PWD/build-host/bin:$PATH"
  commands=$(awk '/^```sh$/ {inside = 1; next} /^```$/ {inside = 0} inside' README.md |
    sed 's/ *#.*//' | grep -v -e '^$' -e 'scripts/test.sh')
  while IFS= read -r command; do
    echo "\$ $command"
    bash -c "$command" </dev/null || { echo "failed: $command"; status=1; }
  done <<<"$commands"
  return "$status"
}

check "packages" scripts/install_deps.sh || true
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
source scripts/gpu.sh
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1

# Formatting
if command -v clang-format >/dev/null; then
  check "clang-format" check_format
else
  skip "clang-format: not installed"
fi

# Release: the host backend, and the CUDA backend for one architecture.
configure=(cmake --preset release -B build-test)
if [[ -n "$nvcc" ]]; then
  configure+=("-DTERRACE_CUDA_ARCHITECTURES=${gpu_architecture:-90a}")
else
  skip "the CUDA backend: no nvcc; the host backend alone is built and tested"
fi
[[ -z "$gpu_missing" ]] || record "SKIPPED: GPU tests: $gpu_missing"
release_log=
if check "configure release" "${configure[@]}" &&
  check "build release" cmake --build build-test -j "$JOBS"; then
  run_tests "release tests" build-test
  release_log=$last_ctest_log
fi

if [[ -z "$quick" ]]; then
  # All GPU architectures: the library compiles for each.
  if [[ -n "$nvcc" ]]; then
    check "configure all architectures" cmake --preset release -B build-architectures -DTERRACE_CUDA=ON \
      -DTERRACE_BUILD_TESTS=OFF -DTERRACE_BUILD_BENCH=OFF -DTERRACE_BUILD_CLI=OFF \
      -DTERRACE_BUILD_EXAMPLES=OFF &&
      check "build all architectures" cmake --build build-architectures -j "$JOBS" --target terrace
  else
    skip "all GPU architectures: no nvcc"
  fi

  # Sanitizers, host code; random calls of the ledger, guided by what they reach. By clang, so that
  # two compilers see everything.
  if ! command -v clang++ >/dev/null; then
    skip "sanitizers and the fuzz target: no clang++"
  else
    if check "configure asan" cmake --preset asan &&
      check "build asan" cmake --build --preset asan -j "$JOBS"; then
      run_tests "asan and ubsan tests" build-asan
      check "fuzz" scripts/fuzz.sh "${TERRACE_FUZZ_SECONDS:-60}"
    fi
    if check "configure tsan" cmake --preset tsan &&
      check "build tsan" cmake --build --preset tsan -j "$JOBS" --target thread_tests; then
      # Three random scenarios of the store: ThreadSanitizer is slow, and the threads do the same in all.
      run_tests "tsan tests" build-tsan -L threads -E 'StoreRandomTest.*/([3-9]|[0-9][0-9])$'
    fi
  fi

  if ! command -v clang-tidy >/dev/null; then
    skip "clang-tidy: not installed"
  elif check "clang-tidy" check_tidy build-test && [[ -s "$logs/tidy_left.txt" ]]; then
    skip "clang-tidy of $(wc -l <"$logs/tidy_left.txt") files: out of time (TERRACE_TIDY_SECONDS)"
  fi

  check "README commands" check_readme
else
  skip "all architectures, sanitizers, fuzzing, clang-tidy, README commands: --quick"
fi

echo
echo "== summary, $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s"
printf '%s\n' "${summary[@]}"
if [[ -n "$release_log" ]]; then
  echo
  sed -n '/tests passed,/,/^Total Test time/p' "$release_log" | grep -v '^$'
fi
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
