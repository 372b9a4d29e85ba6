#!/usr/bin/env bash
# Installs what Terrace needs to build, test and plot, where it is missing. Debian and Ubuntu; on
# other systems it says what to install by hand. Running it again changes nothing.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache
  libabsl-dev libxxhash-dev libboost-dev         # the library
  libcli11-dev nlohmann-json3-dev gnuplot-nox   # the program; gnuplot draws replay --plot
  libgtest-dev libgmock-dev libbenchmark-dev    # tests and benchmarks
  clang libclang-rt-dev                         # sanitizers and the fuzz target
  clang-format clang-tidy python3               # checks
  python3-dev python3-venv                      # the Python package, and parsers for tests
)

case "${1:-}" in
  "") ;;
  *)
    echo "usage: scripts/install_deps.sh    (installs: ${packages[*]})"
    [[ "$1" == --help || "$1" == -h ]] && exit 0
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  cat <<MESSAGE
This is no Debian or Ubuntu system, so nothing was installed. By hand, Terrace needs:
  a C++20 compiler, CMake 3.24 or later, Ninja or make
  Abseil (20220623 or later), xxHash, Boost (1.74 or later, headers only)
  CLI11 and nlohmann/json for the program, gnuplot for replay --plot
  GoogleTest with GoogleMock, Google Benchmark for tests and benchmarks
  optional: the CUDA toolkit 13 (without it the host backend alone is built), ccache,
  clang 14 with its compiler-rt, clang-format and clang-tidy 14, Python 3.9 or later for checks
  for the Python package: Python 3.11 or later with its headers and venv
MESSAGE
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [[ "$status" == "install ok installed" ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "All packages are installed."
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "Missing: ${missing[*]}. Install them as root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -q -y --no-install-recommends "${missing[@]}"
