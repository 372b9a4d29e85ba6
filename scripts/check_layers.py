#!/usr/bin/env python3
"""Reads the includes of the project and fails on an arrow between two parts that is not allowed.

Includes go one way (src/README.md):

    base -> formats -> model -> plan -> ledger --------------------------> cache -> tools
                                    \\-> ops -> kernels -> backend -> store -/

A part may include itself and what stands left of it on a path; so the ledger and the store never
see each other. A public header belongs to a part too, and includes no private header. The file
sizes that CONTRIBUTING.md asks for are checked as well.

Needs Python 3.9 and nothing else. Exits 0 iff nothing is wrong; each finding is one line that
begins with file:line.
"""

import argparse
import os
import re
import statistics
import sys
import tempfile

# What each part may include beside itself: all that stands left of it.
PARTS = {
    "base": [],
    "formats": ["base"],
    "model": ["base", "formats"],
    "plan": ["base", "formats", "model"],
    "ledger": ["base", "formats", "model", "plan"],
    "ops": ["base", "formats", "model", "plan"],
    "kernels": ["base", "formats", "model", "plan", "ops"],
    "backend": ["base", "formats", "model", "plan", "ops", "kernels"],
    "store": ["base", "formats", "model", "plan", "ops", "backend"],
    "cache": ["base", "formats", "model", "plan", "ledger", "ops", "backend", "store"],
}

# The part of every header directly in include/terrace; all of include/terrace/formats is formats.
PUBLIC = {
    "base": ["ids", "units", "version"],
    "model": ["geometry", "limits", "model", "page_view", "pool_kinds"],
    "plan": ["capacity", "counters", "plan", "plan_format", "step", "step_view"],
    "ledger": ["chunk_digest", "ledger", "metrics", "prefix", "step_loop"],
    "backend": ["backend", "backend_buffer", "buffer", "stream"],
    "store": ["store"],
    "cache": ["cache", "terrace"],
}
PART_OF_PUBLIC = {name: part for part, names in PUBLIC.items() for name in names}

# What files outside the library may include: prefixes of paths. A file may always include what lies
# in its own folder or below.
OUTSIDE = {
    "tools/terrace/": ["include/", "src/base/", "tools/terrace/"],
    "examples/": ["include/"],
    "python/": ["include/", "tools/terrace/", "python/src/"],
    "tests/install/": ["include/"],
    "tests/support/": ["include/", "src/", "tests/model/", "tools/terrace/npy.h"],
    "tests/unit/": ["include/", "src/", "tests/model/", "tests/support/"],
    "tests/model/": ["include/", "src/", "tests/support/"],
    "tests/conformance/": ["include/", "src/", "tests/support/", "examples/"],
    "tests/cuda/": ["include/", "src/", "kernels/", "tests/support/", "tests/conformance/"],
    "tests/tools/": ["include/", "src/", "tools/terrace/", "tests/support/"],
    "bench/": ["include/", "src/", "kernels/", "tests/support/"],
    "fuzz/": ["include/", "src/", "tests/support/", "tests/model/"],
}

# kernels/ is CUDA alone: who may include it, whatever else is said.
KERNEL_USERS = ["kernels/", "src/backend/cuda/", "tests/cuda/", "bench/"]

# Folders of one part that do not see each other.
APART = [("src/backend/host/", "src/backend/cuda/")]

# Headers of other projects that only some folders may include.
PACKAGES = [
    (re.compile(r"cuda(?!_bench)\w*\.h$|cuda/|cub/|cooperative_groups|nvtx3/"),
     ["kernels/", "src/backend/cuda/", "tests/", "bench/", "tools/"], "the CUDA toolkit"),
    (re.compile(r"boost/"), ["src/ledger/", "tests/", "bench/"], "Boost"),
    (re.compile(r"nlohmann/|CLI/"), ["tools/", "tests/tools/", "python/"], "a package of the program"),
    (re.compile(r"gtest/|gmock/"), ["tests/"], "GoogleTest"),
]

FOLDERS = ["include", "src", "kernels", "tools", "python", "examples", "tests", "bench", "fuzz"]
SOURCES = (".h", ".cc", ".cu", ".cuh")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')

MOST_LINES = 400           # of one file of include, src, kernels, tools and tests
MOST_MEDIAN = 100          # of the files of include, src, kernels and tools
MOST_PUBLIC_HEADERS = 24   # directly in include/terrace


def source_files(root):
    """Paths of all sources, relative to `root`, sorted."""
    found = []
    for folder in FOLDERS:
        for where, folders, names in os.walk(os.path.join(root, folder)):
            folders.sort()
            found += [os.path.relpath(os.path.join(where, name), root)
                      for name in names if name.endswith(SOURCES)]
    return sorted(found)


def part_of(path):
    """The library's part that `path` belongs to; "" outside the library; None if nobody knows."""
    folders = path.split("/")
    if path.startswith("include/terrace/formats/"):
        return "formats"
    if path.startswith("include/"):
        return PART_OF_PUBLIC.get(os.path.splitext(folders[-1])[0]) if len(folders) == 3 else None
    if folders[0] == "kernels":
        return "kernels"
    if folders[0] == "src":
        name = folders[1] if len(folders) > 2 else os.path.splitext(folders[1])[0].split("_")[0]
        return name if name in PARTS else None
    return ""


def resolve(root, path, spelled):
    """The project's file that `path` includes as `spelled`, or None for other projects' headers."""
    candidates = [os.path.join("include", spelled), spelled,
                  os.path.join(os.path.dirname(path), spelled)]
    for candidate in candidates:
        candidate = os.path.normpath(candidate)
        if os.path.isfile(os.path.join(root, candidate)):
            return candidate
    return None


def complaint(path, target):
    """Why `path` may not include the project's file `target`, or None."""
    if target.startswith("kernels/") and not path.startswith(tuple(KERNEL_USERS)):
        return "kernels/ is for " + ", ".join(KERNEL_USERS) + " alone"
    if path.startswith("include/") and not target.startswith("include/"):
        return "a public header includes a private one"
    for one, other in APART + [(b, a) for a, b in APART]:
        if path.startswith(one) and target.startswith(other):
            return f"{one} and {other} do not see each other"
    part = part_of(path)
    if part:
        to = part_of(target)
        if to == "":
            return f"the library includes what lies outside it ({target.split('/')[0]}/)"
        if to is None or to == part or to in PARTS[part]:
            return None
        return f"{part} includes {to}; it may include " + (", ".join(PARTS[part]) or "nothing")
    for folder, allowed in OUTSIDE.items():
        if path.startswith(folder):
            if target.startswith(tuple(allowed)) or target.startswith(os.path.dirname(path) + "/"):
                return None
            return f"{folder} may include " + ", ".join(allowed)
    return None


def check(root):
    """All findings, as lines of text, and a line that sums up what was read."""
    findings = []
    arrows = 0
    lengths = {}
    for path in source_files(root):
        with open(os.path.join(root, path), encoding="utf-8") as file:
            lines = file.read().splitlines()
        lengths[path] = len(lines)
        if part_of(path) is None:
            findings.append(f"{path}:1: belongs to no part; scripts/check_layers.py lists them")
        if part_of(path) == "" and not path.startswith(tuple(OUTSIDE)):
            findings.append(f"{path}:1: no rule for this folder in scripts/check_layers.py")
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, spelled = match.groups()
            target = resolve(root, path, spelled)
            why = None
            if target:
                arrows += 1
                why = complaint(path, target)
            elif spelled.split("/")[0] in FOLDERS + ["terrace"]:
                why = "no such file"
            else:
                for pattern, allowed, what in PACKAGES:
                    if pattern.match(spelled) and not path.startswith(tuple(allowed)):
                        why = f"{what} is for " + ", ".join(allowed) + " alone"
            if why:
                findings.append(f"{path}:{number}: #include {quote}{spelled}: {why}")

    limited = ("include/", "src/", "kernels/", "tools/", "tests/")
    for path, count in lengths.items():
        if path.startswith(limited) and count > MOST_LINES:
            findings.append(f"{path}:{count}: longer than {MOST_LINES} lines")
    own = [count for path, count in lengths.items() if path.startswith(limited[:-1])]
    median = statistics.median(own) if own else 0
    if median > MOST_MEDIAN:
        findings.append(f"src:1: the median file has {median:g} lines, more than {MOST_MEDIAN}")
    public = [p for p in lengths if p.startswith("include/terrace/") and p.count("/") == 2]
    if len(public) > MOST_PUBLIC_HEADERS:
        findings.append(
            f"include/terrace:1: {len(public)} headers, more than {MOST_PUBLIC_HEADERS}")
    return findings, (f"{len(lengths)} files, {arrows} includes among them, {len(public)} headers "
                      f"directly in include/terrace, median {median:g} lines, longest "
                      f"{max(lengths.values(), default=0)}")


def self_test():
    """Plants one forbidden arrow after the other in a small tree; each must be found, by line."""
    clean = {
        "include/terrace/ids.h": "#include <cstdint>\n",
        "include/terrace/plan.h": '#include "terrace/ids.h"\n#include "terrace/formats/bf16.h"\n',
        "include/terrace/ledger.h": '#include "terrace/plan.h"\n',
        "include/terrace/store.h": '#include "terrace/plan.h"\n',
        "include/terrace/formats/bf16.h": "",
        "src/base/check.h": "",
        "src/ledger/ledger.cc": '#include "terrace/ledger.h"\n#include "src/base/check.h"\n',
        "src/ops/select.h": '#include "terrace/plan.h"\n',
        "src/store/store.cc": '#include "terrace/store.h"\n#include "src/ops/select.h"\n',
        "src/backend/host/host_backend.h": '#include "src/ops/select.h"\n',
        "src/backend/cuda/cuda_backend.cc": '#include "kernels/write.cuh"\n',
        "src/cache.cc": '#include "terrace/ledger.h"\n#include "terrace/store.h"\n',
        "kernels/write.cuh": '#include <cuda_runtime.h>\n#include "src/ops/select.h"\n',
        "tools/terrace/main.cc": '#include "terrace/store.h"\n#include "src/base/check.h"\n',
        "examples/own.h": "",
        "examples/example.cc": '#include "own.h"\n#include "terrace/store.h"\n',
        "tests/unit/ledger_test.cc": '#include "src/ledger/ledger.cc"\n#include <gtest/gtest.h>\n',
    }
    planted = [
        ("include/terrace/plan.h", '#include "terrace/ledger.h"'),
        ("include/terrace/plan.h", '#include "src/base/check.h"'),
        ("include/terrace/plan.h", "#include <boost/intrusive/list.hpp>"),
        ("src/base/check.h", '#include "terrace/formats/bf16.h"'),
        ("src/ledger/ledger.cc", '#include "terrace/store.h"'),
        ("src/ledger/ledger.cc", '#include "src/ops/select.h"'),
        ("src/ledger/ledger.cc", "#  include <cuda_runtime.h>"),
        ("src/store/store.cc", '#include "terrace/ledger.h"'),
        ("src/store/store.cc", '#include "kernels/write.cuh"'),
        ("src/store/store.cc", '#include "terrace/no_such.h"'),
        ("src/backend/host/host_backend.h", '#include "kernels/write.cuh"'),
        ("src/backend/host/host_backend.h", '#include "src/backend/cuda/cuda_backend.cc"'),
        ("src/cache.cc", '#include "tools/terrace/main.cc"'),
        ("tools/terrace/main.cc", '#include "src/ops/select.h"'),
        ("examples/example.cc", '#include "src/base/check.h"'),
        ("tests/unit/ledger_test.cc", '#include "kernels/write.cuh"'),
        ("include/terrace/unheard_of.h", "// of no part"),
        ("src/odd/odd.cc", "// of no part"),
        ("src/store/long.cc", "\n" * MOST_LINES),
    ]

    def findings_of(files):
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return check(root)[0]

    failures = [f"found in a clean tree: {finding}" for finding in findings_of(clean)]
    for path, line in planted:
        text = clean.get(path, "") + line + "\n"
        findings = findings_of({**clean, path: text})
        if len(findings) != 1 or not findings[0].startswith(f"{path}:{text.count(chr(10))}:"):
            failures.append(f"planted {line!r} in {path}, found {findings}")
    return failures, f"{len(planted)} planted faults were found"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="The order of the parts is drawn in src/README.md.")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), ".."),
                        help="the tree to read (default: this one)")
    parser.add_argument("--self-test", action="store_true",
                        help="see that planted faults are found, and read no tree")
    arguments = parser.parse_args()
    findings, sum_up = self_test() if arguments.self_test else check(arguments.root)
    for finding in findings:
        print(finding)
    print(sum_up if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
