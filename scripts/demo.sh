#!/usr/bin/env bash
# Installs what is missing, builds, and replays a workload through Terrace: the main job on any
# machine. With a usable GPU and nvcc it runs the CUDA backend, otherwise the host backend.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/demo.sh [TRACE] [options of terrace replay]

  scripts/demo.sh                                   the built-in synthetic workload
  scripts/demo.sh mooncake_conversation.jsonl       a trace: Mooncake JSONL or Azure CSV
  scripts/demo.sh --memory 8GiB --plot pools.svg    options go to `terrace replay`
USAGE
}

arguments=()
if (($# > 0)) && [[ "$1" != -* ]]; then
  arguments+=(--trace "$(realpath "$1")")
  shift
fi
for argument in "$@"; do
  if [[ "$argument" == --help || "$argument" == -h ]]; then
    usage
    exit 0
  fi
done
arguments+=("$@")

given() {  # whether the user named option $1, as "--option value" or "--option=value"
  local argument
  for argument in "${arguments[@]}"; do
    [[ "$argument" == "$1" || "$argument" == "$1="* ]] && return 0
  done
  return 1
}

scripts/install_deps.sh
command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
source scripts/gpu.sh

memory=40GiB
if [[ -n "$gpu_architecture" && -n "$nvcc" ]]; then
  preset=release
  backend=cuda
  options=("-DTERRACE_CUDA_ARCHITECTURES=$gpu_architecture")
  # Leave a fifth of the free memory to everybody else.
  if ((gpu_free_mib * 4 / 5 < 40 * 1024)); then
    memory="$((gpu_free_mib * 4 / 5))MiB"
  fi
else
  preset=host
  backend=host
  options=()
  echo "SKIPPED: the CUDA backend (${gpu_missing:-no nvcc to build it})"
fi

cmake --preset "$preset" "${options[@]}"
cmake --build --preset "$preset" --target terrace_cli

given --model || arguments+=(--model deepseek-v4-flash)
given --memory || arguments+=(--memory "$memory")
given --backend || arguments+=(--backend "$backend")
echo "build-$preset/bin/terrace replay ${arguments[*]}"
exec "build-$preset/bin/terrace" replay "${arguments[@]}"
