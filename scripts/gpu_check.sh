#!/usr/bin/env bash
# Runs a folder made by gpu_bundle.sh on a machine with a GPU: tests, the four tools of
# compute-sanitizer over them, benches. Ends with a table of PASS, FAIL and SKIP; exits 0 iff nothing
# failed.
#
# Environment, all optional:
#   PARTS             what to run, default "tests sanitizer benches"
#   GTEST_FILTER      tests to run
#   SANITIZER_FILTER  tests to run under compute-sanitizer (it is 10 to 100 times slower)
#   SANITIZER_TOOLS   default "memcheck racecheck initcheck synccheck"
#   BENCH_FILTER      benchmarks to run, a regular expression; a bench that has none is skipped
#   STEP_SECONDS      limit of one executable under one tool, default 300; what does not end on
#                     SIGTERM then is killed 10 s later
#   LOG_DIR           where the whole output goes, default a new temporary folder
set -uo pipefail

if (($# > 0)); then
  sed -n '2,/^set /s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  [[ "$1" == --help || "$1" == -h ]] && exit 0
  exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")" || exit

parts=${PARTS:-tests sanitizer benches}
tools=${SANITIZER_TOOLS:-memcheck racecheck initcheck synccheck}
limit=${STEP_SECONDS:-300}
logs=${LOG_DIR:-$(mktemp -d)}
mkdir -p "$logs"
export LD_LIBRARY_PATH="$PWD/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export TERRACE_TEST_DATA="$PWD"  # which holds golden/

if ! nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; then
  echo "No usable GPU: nothing was run." >&2
  exit 1
fi

table=()
failed=0 skipped=0

# step NAME COMMAND...: one line of the table.
step() {
  local name=$1 log from=$SECONDS status note
  log="$logs/${name//[^A-Za-z0-9]/_}.log"
  shift
  timeout --kill-after=10 "$limit" "$@" >"$log" 2>&1
  status=$?
  note=$(grep -E '\[  (PASSED|SKIPPED)  ?\] [0-9]+ test|ERROR SUMMARY|RACECHECK SUMMARY' "$log" |
    sed -e 's/^=* *//' -e 's/, listed below:$//' | paste -sd ';')
  if ((status == 0)) && grep -q 'Running 0 tests' "$log"; then
    status=1 note="no test matched"
  fi
  if ((status != 0)) && grep -q "is found in no row's name" "$log"; then
    table+=("SKIP  $name  nothing matches BENCH_FILTER")
    skipped=$((skipped + 1))
  elif ((status == 0)); then
    table+=("PASS  $name  ($((SECONDS - from)) s)  $note")
  else
    failed=$((failed + 1))
    ((status == 124 || status == 137)) && note="over $limit s; $note"
    table+=("FAIL  $name  (exit $status, $((SECONDS - from)) s)  $note")
    echo "---- $name"
    grep -vE '^\[ +(RUN|OK) ' "$log" | tail -n 40
  fi
}

if [[ " $parts " == *" tests "* ]]; then
  for test in tests/*; do
    step "${test##*/}" "$test"
  done
fi

if [[ " $parts " == *" sanitizer "* ]]; then
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  if [[ -x "$sanitizer" ]]; then
    for tool in $tools; do
      for test in tests/*; do
        GTEST_FILTER="${SANITIZER_FILTER:-${GTEST_FILTER:-*}}" step "$tool ${test##*/}" \
          "$sanitizer" --tool "$tool" --error-exitcode 3 --report-api-errors no "$test"
      done
    done
  else
    table+=("SKIP  compute-sanitizer is not installed")
    skipped=$((skipped + 1))
  fi
fi

if [[ " $parts " == *" benches "* ]]; then
  for bench in benches/*; do
    [[ -e "$bench" ]] || continue
    step "${bench##*/}" "$bench" ${BENCH_FILTER:+"--benchmark_filter=$BENCH_FILTER"}
    cat "$logs/${bench##*/}.log"
  done
fi

echo
printf '%s\n' "${table[@]}"
echo "$((${#table[@]} - failed - skipped)) passed, $failed failed, $skipped skipped; whole output in $logs"
((failed == 0))
