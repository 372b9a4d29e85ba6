"""``python -m terrace_kv`` is the program ``terrace``."""

from __future__ import annotations

import sys

from terrace_kv._program import main

sys.exit(main())
