#!/usr/bin/env bash
# clang-tidy over every host source of src/ and tools/, with a cache by content: a file that was
# clean before and preprocesses to the same text is not read again. There is no time limit: a file
# is clean or it is a failure.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

usage() {
  cat <<'USAGE'
usage: scripts/tidy.sh [--build DIR] [--no-cache] [FILE...]

  FILE...       sources to read, as git names them (default: all of src/ and tools/)
  --build DIR   the build folder whose compile commands count (default: the first of build-test,
                build-release, build-host, build that is configured)
  --no-cache    reads every file anew

Needs clang-tidy, clang++ and a configured build folder. The cache is build-tidy-cache/, an empty file
for each clean source, named by the SHA-256 of clang-tidy's version, .clang-tidy, the compile command
and the preprocessed source with its comments. Deleting it is safe. Exits 0 iff no file has a finding.

Environment: JOBS (default: all cores).
USAGE
}

build='' cache=build-tidy-cache use_cache=1
files=()
while (($# > 0)); do
  case "$1" in
    --help | -h) usage && exit 0 ;;
    --build) build=${2:?--build needs a folder}; shift ;;
    --no-cache) use_cache='' ;;
    -*) usage >&2 && exit 2 ;;
    *) files+=("$1") ;;
  esac
  shift
done

for folder in build-test build-release build-host build; do
  [[ -n "$build" ]] || { [[ -f "$folder/compile_commands.json" ]] && build=$folder; }
done
commands=$build/compile_commands.json
if [[ -z "$build" || ! -f "$commands" ]]; then
  echo "No compile commands: configure a build folder first, e.g. cmake --preset host" >&2
  exit 2
fi
for tool in clang-tidy clang++; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done
if ((${#files[@]} == 0)); then
  mapfile -t files < <(git ls-files -co --exclude-standard 'src/*.cc' 'tools/*.cc')
fi
mkdir -p "$cache"
find "$cache" -type f -mtime +30 -delete  # a hit is touched

# Sets `flags` to what the compiler of source $1 is called with, without its output and input; to
# nothing if it is not in the build. CMake writes one command a line.
flags_of() {
  local line words=() word
  flags=()
  line=$(grep -F '"command": ' "$commands" | grep -F -m 1 -e "/$1\"") || return 0
  line=${line#*'"command": "'}
  line=${line%% -o *}
  eval "words=(${line//\\\"/\"})"
  for word in "${words[@]}"; do
    if [[ "${word##*/}" =~ ^(c|g|clang)\+\+(-[0-9]+)?$ ]]; then flags=(); else flags+=("$word"); fi
  done
}

# tidy_one FILE: prints "cached", "clean", "absent" or "failed", then what there is to say.
tidy_one() {
  local file=$1 flags key stamp output
  flags_of "$file"
  ((${#flags[@]} > 0)) || { echo "absent $file"; return; }
  key=$({
    echo "$TIDY_VERSION"
    cat .clang-tidy
    echo "${flags[@]}"
    clang++ "${flags[@]}" -E -C -w "$file" 2>/dev/null || echo "not preprocessed: $RANDOM $$"
  } | sha256sum | cut -d ' ' -f 1)
  stamp=$cache/$key
  if [[ -n "$use_cache" && -e "$stamp" ]]; then
    touch "$stamp"
    echo "cached $file"
  elif output=$(clang-tidy --quiet -p "$build" "$file" 2>&1); then
    touch "$stamp"
    echo "clean $file"
  else
    echo "failed $file"
    # Not how many warnings system headers had.
    grep -v -E '^[0-9]+ warnings? (generated|treated as errors?)' <<<"$output"
  fi
}
export -f flags_of tidy_one
export build cache use_cache commands
TIDY_VERSION=$(clang-tidy --version | grep -i version)
export TIDY_VERSION

log=$(mktemp)
trap 'rm -f "$log"' EXIT
start=$SECONDS
# Each file's lines leave in one piece.
printf '%s\n' "${files[@]}" | xargs -P "${JOBS:-$(nproc)}" -I{} bash -c \
  'text=$(tidy_one "$1"); printf "%s\n" "$text"' tidy {} | tee "$log" | grep -v -E '^(cached|clean|absent) '
count() { grep -c "^$1 " "$log"; }

status=0
(($(count failed) == 0)) || status=1
if (($(count absent) > 0)); then
  # Without nvcc there is no CUDA backend in the build; any other source must be in it.
  grep '^absent ' "$log" | sed 's/^absent /not in the build: /'
  if grep -q '\.cu"' "$commands" || grep '^absent ' "$log" | grep -qv ' src/backend/cuda/'; then status=1; fi
fi
answered=$(($(count cached) + $(count clean) + $(count failed) + $(count absent)))
if ((answered != ${#files[@]})); then
  echo "$((${#files[@]} - answered)) files were not read"
  status=1
fi
echo "${#files[@]} files: $(count clean) read and clean, $(count cached) as they were," \
  "$(count failed) with findings, $(count absent) not in the build, $((SECONDS - start)) s"
exit "$status"
