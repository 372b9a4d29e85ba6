#!/usr/bin/env python3
"""Compares the SM90 machine code of the kernels in two builds: compare_sass.py OLD.a NEW.a

Namespaces and the compiler's hashes in names do not count. A kernel whose name is in one build alone
is looked up by its code, so that a renamed kernel is found. Prints a line a kernel and exits 0 iff
the code of all of them is the same. Needs cuobjdump and c++filt.
"""

import re
import subprocess
import sys


def kernels(library):
    """The code of each kernel, by a name that does not depend on where it is declared."""
    text = subprocess.run(["cuobjdump", "-sass", library], check=True, capture_output=True,
                          text=True).stdout
    found = {}
    for part in text.split("\t\tFunction : ")[1:]:
        mangled, code = part.split("\n", 1)
        name = subprocess.run(["c++filt", mangled.strip()], check=True, capture_output=True,
                              text=True).stdout.strip()
        name = re.sub(r"\(anonymous namespace\)::|terrace::|internal::", "", name)
        lines = [line for line in code.splitlines() if "/*" in line]
        found[name] = "\n".join(lines)
    return found


def main():
    old, new = (kernels(path) for path in sys.argv[1:3])
    names = {code: name for name, code in new.items() if name not in old}
    different = 0
    for name, code in sorted(old.items()):
        if name in new:
            same = new[name] == code
            verdict = "same" if same else (
                f"DIFFERS: {code.count(';')} instructions, now {new[name].count(';')}")
        else:
            same = code in names
            verdict = f"same, now {names[code]}" if same else "GONE"
        different += not same
        print(f"{verdict}  {name}")
    for name in sorted(set(new) - set(old)):
        print(f"new  {name}")
    print(f"{len(old)} kernels, {different} of them not the same")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
