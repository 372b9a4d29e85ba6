#!/usr/bin/env bash
# Writes the type stubs of the Python package's extension module, as nanobind finds them in the
# module that is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "usage: scripts/python_stubs.sh [--python PYTHON] [FOLDER]"
  echo "  PYTHON has terrace-kv and nanobind installed; FOLDER is python/terrace_kv by default."
}
python=python3
if [[ "${1:-}" == --python ]]; then
  python=$2
  shift 2
fi
case "${1:-}" in
  --help | -h) usage && exit 0 ;;
  -*) usage >&2 && exit 2 ;;
esac
out=$(realpath "${1:-python/terrace_kv}")
patterns=$PWD/python/stub_patterns.txt

# From elsewhere, so that the installed module is what is looked at.
cd "$out"
"$python" -P -m nanobind.stubgen -m terrace_kv._terrace -p "$patterns" -o "$out/_terrace.pyi" -q
