#!/usr/bin/env bash
# Builds the fuzz target with clang and runs it. Exits 0 iff it found nothing; what it found lies in
# build-asan/found, and build-asan/bin/ledger_fuzz FILE runs it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-60}"
if [[ ! "$seconds" =~ ^[0-9]+$ ]]; then
  echo "usage: scripts/fuzz.sh [SECONDS]    (default 60)"
  [[ "$seconds" == --help || "$seconds" == -h ]] && exit 0
  exit 2
fi
jobs="${JOBS:-$(nproc)}"

cmake --preset asan
cmake --build --preset asan -j "$jobs" --target ledger_fuzz

# A seed corpus: any bytes are calls, so any will do. What runs find new stays beside them.
corpus=build-asan/corpus
mkdir -p "$corpus" build-asan/found
RANDOM=1
for seed in {1..32}; do
  [[ -e "$corpus/seed$seed" ]] && continue
  for _ in {1..200}; do
    # shellcheck disable=SC2059
    printf "\\x$(printf %02x $((RANDOM % 256)))"
  done >"$corpus/seed$seed"
done

build-asan/bin/ledger_fuzz -fork="$jobs" -max_total_time="$seconds" -max_len=800 -timeout=30 \
  -artifact_prefix=build-asan/found/ "$corpus"
