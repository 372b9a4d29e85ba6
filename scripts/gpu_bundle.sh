#!/usr/bin/env bash
# Packs what a machine with a GPU needs to run Terrace's GPU tests and benches without building:
# executables, the shared libraries they name (all but the system's own), golden vectors, and
# gpu_check.sh, which runs it all there.
#
# Environment, optional:
#   GPU_ARCHITECTURE  what is compiled for, as CMake names it, default 90a. 80-virtual: the SM80 code
#                     as PTX alone, which the driver of any later GPU compiles for itself. So the
#                     path of older GPUs (no early launches, conversions in software) is tested on
#                     newer ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# != 1)) || [[ "$1" == -* ]]; then
  echo "usage: [GPU_ARCHITECTURE=90a] scripts/gpu_bundle.sh OUT_DIR"
  [[ "${1:-}" == --help || "${1:-}" == -h ]] && exit 0
  exit 2
fi
out=$1
architecture=${GPU_ARCHITECTURE:-90a}
build="build-gpu-$architecture"

command -v ninja >/dev/null && export CMAKE_GENERATOR="${CMAKE_GENERATOR:-Ninja}"
cmake --preset release -B "$build" -DTERRACE_CUDA=ON "-DTERRACE_CUDA_ARCHITECTURES=$architecture"
cmake --build "$build" -j "$(nproc)" --target gpu_tests gpu_benches terrace_cli

mkdir -p "$out"
rm -rf "${out:?}"/{tests,benches,lib,golden,terrace,gpu_check.sh}
mkdir "$out"/{tests,benches,lib}
for executable in "$build"/bin/gpu/*; do
  case "$executable" in
    *_test) strip -o "$out/tests/${executable##*/}" "$executable" ;;
    *_bench) strip -o "$out/benches/${executable##*/}" "$executable" ;;
  esac
done
strip -o "$out/terrace" "$build/bin/terrace"
cp -r tests/golden "$out/golden"
cp scripts/gpu_check.sh "$out/"

# The C and C++ runtimes are the other machine's, whose own are at least as new.
ldd "$out"/tests/* "$out"/benches/* "$out/terrace" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' |
  sort -u | grep -vE '/(libc|libm|libpthread|libdl|librt|libgcc_s|libstdc\+\+|libcuda)\.so' |
  xargs -r -I{} cp -L {} "$out/lib/"
du -sh "$out"
