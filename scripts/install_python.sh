#!/usr/bin/env bash
# Makes build-venv, a virtual environment with what a test needs from PyPI: Prometheus' own parser. A test
# finds it there, and skips without it. Running it again changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(prometheus_client==0.26.0)
venv=build-venv
stamp="$venv/${packages[*]}"
if [[ -e "$stamp" ]]; then
  echo "All Python packages are installed."
  exit 0
fi
python3 -m venv --clear "$venv"
"$venv/bin/python3" -m pip install --quiet --disable-pip-version-check "${packages[@]}"
touch "$stamp"
echo "Installed: ${packages[*]}"
