"""The console script ``terrace``: the C++ program, run in this process."""

from __future__ import annotations

import signal
import sys

from terrace_kv import _terrace


def main() -> int:
    """Runs the program with this process's arguments and gives its exit code."""
    # The program has no Python to come back to: Ctrl-C and a closed pipe end it as they end others.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return _terrace.run_program(["terrace", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
