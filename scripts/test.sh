#!/usr/bin/env bash
# Installs what is missing, builds, and runs every check this machine can run, stage by stage. What it
# cannot run is listed as SKIPPED with the reason. Exits 0 iff nothing failed. Running it again is
# quick: build folders and what clang-tidy found clean are kept.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

stages=(packages format layers words build tests architectures asan fuzz tsan tidy python readme)
quick_stages=(packages format layers words build tests)

usage() {
  cat <<'USAGE'
usage: scripts/test.sh [--quick] [STAGE...]

Runs all stages, in this order, or those that are named:

  packages       installs what is missing (scripts/install_deps.sh, scripts/install_python.sh)
  format         clang-format
  layers         includes go one way; sizes of files (scripts/check_layers.py)
  words          retired words (scripts/check_words.py)
  build          the release build with tests and benches, in build-test
  tests          all tests of the release build, the outside project among them
  architectures  the library for every GPU architecture
  asan           tests under AddressSanitizer and UndefinedBehaviorSanitizer
  fuzz           the fuzz target (scripts/fuzz.sh)
  tsan           tests that run threads, under ThreadSanitizer
  tidy           clang-tidy on all host sources (scripts/tidy.sh)
  python         the wheel (scripts/wheel.sh), and in a clean environment its tests and types
  readme         the commands of README.md, as a reader would type them

  --quick        packages, format, layers, words, build and tests alone

`tests`, `tidy` and `readme` build first what they need. The seconds of each stage are printed at the
end, and whole outputs lie in build-logs.

Environment: TERRACE_FUZZ_SECONDS (default 60) is how long the fuzz target runs; JOBS (default: all
cores).
USAGE
}

quick=''
chosen=()
for argument in "$@"; do
  case "$argument" in
    --quick) quick=1 ;;
    --help | -h) usage && exit 0 ;;
    *)
      [[ " ${stages[*]} " == *" $argument "* ]] || { usage >&2; exit 2; }
      chosen+=("$argument")
      ;;
  esac
done
if ((${#chosen[@]} == 0)); then
  if [[ -n "$quick" ]]; then chosen=("${quick_stages[@]}"); else chosen=("${stages[@]}"); fi
elif [[ -n "$quick" ]]; then
  usage >&2 && exit 2
fi

JOBS="${JOBS:-$(nproc)}"
logs=build-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0
summary=()
seconds=()   # a line a stage
declare -A ran=()
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

# run_stage NAME: once, whoever asks for it.
run_stage() {
  [[ -z "${ran[$1]:-}" ]] || return 0
  ran[$1]=1
  local from=$SECONDS
  # Each time, because the stage before may have installed it.
  command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
  echo "=== stage $1"
  "stage_$1"
  seconds+=("$(printf '%-14s %5d s' "$1" $((SECONDS - from)))")
}

stage_packages() {
  check "packages" scripts/install_deps.sh
  scripts/install_python.sh || skip "Prometheus' parser: scripts/install_python.sh failed"
}

stage_format() {
  if command -v clang-format >/dev/null; then
    check "clang-format" check_format
  else
    skip "clang-format: not installed"
  fi
}

# check_python NAME SCRIPT: planted faults first, then the tree.
check_python() {
  if command -v python3 >/dev/null; then
    check "$1, planted faults" python3 "$2" --self-test && check "$1" python3 "$2"
  else
    skip "$1: python3 is not installed"
  fi
}
stage_layers() { check_python "layers" scripts/check_layers.py; }
stage_words() { check_python "retired words" scripts/check_words.py; }

# The host backend, and the CUDA backend for one architecture.
stage_build() {
  local configure=(cmake --preset release -B build-test)
  if [[ -n "$nvcc" ]]; then
    configure+=("-DTERRACE_CUDA_ARCHITECTURES=${gpu_architecture:-90a}")
  else
    skip "the CUDA backend: no nvcc; the host backend alone is built and tested"
  fi
  built=''
  check "configure release" "${configure[@]}" &&
    check "build release" cmake --build build-test -j "$JOBS" && built=1
}

stage_tests() {
  run_stage build
  [[ -z "$gpu_missing" ]] || record "SKIPPED: GPU tests: $gpu_missing"
  [[ -n "$built" ]] || return
  run_tests "release tests" build-test
  release_log=$last_ctest_log
}

stage_architectures() {
  if [[ -z "$nvcc" ]]; then
    skip "all GPU architectures: no nvcc"
    return
  fi
  check "configure all architectures" cmake --preset release -B build-architectures -DTERRACE_CUDA=ON \
    -DTERRACE_BUILD_TESTS=OFF -DTERRACE_BUILD_BENCH=OFF -DTERRACE_BUILD_CLI=OFF \
    -DTERRACE_BUILD_EXAMPLES=OFF &&
    check "build all architectures" cmake --build build-architectures -j "$JOBS" --target terrace
}

# Sanitizers see host code alone. By clang, so that two compilers see everything.
have_clang() {
  command -v clang++ >/dev/null && return
  skip "$1: no clang++"
  return 1
}

stage_asan() {
  have_clang "asan and ubsan tests" || return
  check "configure asan" cmake --preset asan &&
    check "build asan" cmake --build --preset asan -j "$JOBS" &&
    run_tests "asan and ubsan tests" build-asan
}

# Random calls of the ledger, guided by what they reach.
stage_fuzz() {
  have_clang "fuzz" || return
  check "fuzz" scripts/fuzz.sh "${TERRACE_FUZZ_SECONDS:-60}"
}

stage_tsan() {
  have_clang "tsan tests" || return
  # Three random scenarios of the store: ThreadSanitizer is slow, and the threads do the same in all.
  check "configure tsan" cmake --preset tsan &&
    check "build tsan" cmake --build --preset tsan -j "$JOBS" --target thread_tests &&
    run_tests "tsan tests" build-tsan -L threads -E 'StoreRandomTest.*/([3-9]|[0-9][0-9])$'
}

stage_tidy() {
  if ! command -v clang-tidy >/dev/null || ! command -v clang++ >/dev/null; then
    skip "clang-tidy: not installed"
    return
  fi
  run_stage build
  check "clang-tidy" env JOBS="$JOBS" scripts/tidy.sh --build build-test
  local absent
  absent=$(grep -c '^not in the build: ' "$logs/clang-tidy.log")
  ((absent == 0)) || [[ -n "$nvcc" ]] || skip "clang-tidy of $absent files of the CUDA backend: no nvcc"
}

# The wheel is installed and tested where nothing of the build is: an environment of its own.
stage_python() {
  if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    skip "python: python3-venv is not installed"
    return
  fi
  local clean=build-wheel/clean
  rm -rf "$clean" build-wheel/dist
  check "wheel" env CMAKE_BUILD_PARALLEL_LEVEL="$JOBS" scripts/wheel.sh build-wheel/dist || return
  check "clean environment" install_wheel "$clean" || return
  run_pytest "python tests" "$clean/bin/python" -m pytest -p no:cacheprovider python/tests
  check "mypy" "$clean/bin/python" -m mypy --cache-dir build-wheel/mypy \
    python/tests python/bench examples/python
}

install_wheel() {
  python3 -m venv "$1" &&
    "$1/bin/pip" install --disable-pip-version-check --quiet \
      "$(echo build-wheel/dist/terrace_kv-*.whl)[test]" nanobind
}

# run_pytest NAME COMMAND...: counts every test.
run_pytest() {
  local name=$1 log from=$SECONDS junit
  shift
  log="$logs/${name// /_}.log"
  junit="$PWD/$logs/${name// /_}.xml"
  rm -f "$junit"
  echo "== $name"
  "$@" --junitxml="$junit" >"$log" 2>&1
  local status=$?
  number() { grep -o "<testsuite [^>]*" "$junit" 2>/dev/null | sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p"; }
  local total failures errors skips
  total=$(number tests) failures=$(number failures) errors=$(number errors) skips=$(number skipped)
  if [[ -z "$total" || "$total" == 0 ]]; then
    failed=$((failed + 1))
    tail -n 40 "$log"
    record "FAILED: $name: no test ran"
    return 1
  fi
  failures=$((failures + errors))
  passed=$((passed + total - failures - skips))
  failed=$((failed + failures))
  skipped=$((skipped + skips))
  local counts="$((total - failures - skips)) passed, $failures failed, $skips skipped"
  if ((status != 0)); then
    ((failures > 0)) || failed=$((failed + 1))
    tail -n 120 "$log"
    record "FAILED: $name: $counts (all of it in $log)"
    return 1
  fi
  record "PASSED: $name: $counts ($((SECONDS - from)) s)"
  ((skips == 0)) || record "SKIPPED: $skips of $name: frameworks or devices that are not here"
}

stage_readme() {
  run_stage build
  check "README commands" check_readme
}

source scripts/gpu.sh
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
built='' release_log=''
for stage in "${chosen[@]}"; do
  run_stage "$stage"
done
[[ -z "$quick" ]] ||
  skip "all architectures, sanitizers, fuzzing, clang-tidy, Python, README commands: --quick"

echo
echo "== stages"
printf '%s\n' "${seconds[@]}"
printf '%-14s %5d s\n' "in all" $((SECONDS - start))

echo
echo "== summary, $(((SECONDS - start) / 60)) min $(((SECONDS - start) % 60)) s"
printf '%s\n' "${summary[@]}"
if [[ -n "$release_log" ]]; then
  echo
  sed -n '/tests passed,/,/^Total Test time/p' "$release_log" | grep -v '^$'
fi
echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
