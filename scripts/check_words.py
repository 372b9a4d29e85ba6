#!/usr/bin/env python3
"""Finds retired words: one word is to mean one thing (docs/glossary.md).

What is retired, where, and what to say instead is in scripts/retired_words.txt, which explains its
own format. Reads the files that git knows, or all of them where there is no git.

Files that the documents and the folders' READMEs name must exist, too. The section of
docs/design.md that follows one token names a file a station, and none twice.

Needs Python 3.9 and nothing else. Exits 0 iff nothing was found; each finding is one line that
begins with file:line.
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = "scripts/retired_words.txt"
KEYS = {"word", "where", "except", "allow", "say"}
NEEDED = {"word", "where", "say"}
GLOSSARY = "docs/glossary.md"
# Pages whose `file.h` and [links](file.md) must exist.
MAPS = re.compile(r"docs/(glossary|design|guide|formats|capacity|replay)\.md|docs/decisions/.*\.md|"
                  r"(README|CONTRIBUTING)\.md|(src|kernels|tools|tests|examples)/(.*/)?README\.md")
NAMED = re.compile(r"`([\w./-]+\.(?:h|cc|cu|cuh|cmake|py|sh|md))`")
LINKED = re.compile(r"\]\(([^):#]+)\)")
# The page and the heading of its section whose stations are one file each.
ROUTE = ("docs/design.md", "## One token's way")
MIN_STATIONS = 9
TEXTS = (".h", ".cc", ".cu", ".cuh", ".md", ".py", ".sh", ".txt", ".cmake", ".json")
# They name old words.
UNREAD = {RULES, GLOSSARY, "CHANGELOG.md", "scripts/check_words.py"}


class Rule:
    """One word, and where it is retired."""

    def __init__(self, fields, number):
        unknown = set(fields) - KEYS
        missing = NEEDED - set(fields)
        if unknown or missing:
            raise ValueError(f"{RULES}:{number}: rule with unknown {sorted(unknown)}, "
                             f"without {sorted(missing)}")
        self.word = re.compile(fields["word"])
        self.where = fields["where"].split()
        self.exempt = fields.get("except", "").split()
        self.allow = re.compile(fields["allow"]) if "allow" in fields else None
        self.say = fields["say"]

    def reads(self, path):
        return matches(path, self.where) and not matches(path, self.exempt)

    def find(self, line):
        """What is retired in `line`. What is allowed does not count, wherever it stands."""
        allowed = [m.span() for m in self.allow.finditer(line)] if self.allow else []
        return [m.group() for m in self.word.finditer(line)
                if not any(begin <= m.start() and m.end() <= end for begin, end in allowed)]


def matches(path, patterns):
    """Whether a pattern is `path`, a folder it lies in, or a wildcard of either."""
    return any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, pattern + "/*")
               for pattern in patterns)


def read_rules(path):
    rules, fields, begin = [], {}, 0
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines() + [""]
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        if line.strip():
            key, colon, value = line.partition(":")
            if not colon or key in fields:
                raise ValueError(f"{RULES}:{number}: no 'key: value', or a key twice in a rule")
            begin = begin or number
            fields[key] = value.strip()
        elif fields:
            rules.append(Rule(fields, begin))
            fields, begin = {}, 0
    return rules


def files(root):
    """Paths of all files, relative to `root`, sorted."""
    try:
        listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
                                capture_output=True, check=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        listed = [os.path.relpath(os.path.join(where, name), root)
                  for where, _, names in os.walk(root) for name in names]
        listed = [path for path in listed if not path.startswith(("build", "."))]
    return sorted(path for path in set(listed) if os.path.isfile(os.path.join(root, path)))


def check(root, rules):
    """All findings, as lines of text, and a line that sums up what was read."""
    findings = []
    paths = [path for path in files(root) if path.endswith(TEXTS) and path not in UNREAD]
    for path in paths:
        wanted = [rule for rule in rules if rule.reads(path)]
        if not wanted:
            continue
        with open(os.path.join(root, path), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                for rule in wanted:
                    findings += [f"{path}:{number}: '{word}' is retired; say {rule.say}"
                                 for word in rule.find(line)]
    findings += check_names(root) + check_route(root)
    return findings, f"{len(paths)} files read, {len(rules)} rules, no retired word"


def check_names(root):
    """What a page names by the end of its path must be there; a link is relative to the page."""
    findings, paths = [], files(root)
    for page in filter(MAPS.fullmatch, paths):
        with open(os.path.join(root, page), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                lost = [name for name in NAMED.findall(line)
                        if not any(("/" + path).endswith("/" + name) for path in paths)]
                lost += [link for link in LINKED.findall(line)
                         if not os.path.exists(os.path.join(root, os.path.dirname(page), link))]
                findings += [f"{page}:{number}: '{name}' does not exist" for name in lost]
    return findings


def check_route(root):
    """The section of ROUTE names a file a row of its tables, and no file twice."""
    page, heading = ROUTE
    if not os.path.isfile(os.path.join(root, page)):
        return []  # another tree, as the self-test's
    findings, seen, stations, inside = [], set(), 0, False
    with open(os.path.join(root, page), encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#"):
                inside = line.strip() == heading
            if not inside:
                continue
            names = NAMED.findall(line)
            findings += [f"{page}:{number}: '{name}' is named twice on the token's way"
                         for name in names if name in seen]
            seen.update(names)
            if re.match(r"\| *\d", line):
                stations += 1
                if len(names) != 1:
                    findings.append(f"{page}:{number}: a station names {len(names)} files, not one")
    if stations < MIN_STATIONS:
        findings.append(f"{page}:1: '{heading}' has {stations} stations, fewer than {MIN_STATIONS}")
    return findings


PLANTED = [  # path, line, and what is found in it
    ("src/ledger/ledger.cc", "  LaneRecord& record = next;", ["LaneRecord", "LaneRecord"]),
    ("include/terrace/plan.h", "  int32_t num_lanes;  // of the planes", ["num_lanes"]),
    ("include/terrace/plan.h", "  int32_t plane; PlaneKind kind; PlanesOf(x);", []),
    ("include/terrace/formats/row_codec.h", "// one warp lane owns one packet", []),
    ("kernels/gather.cu", "  const int lane = threadIdx.x % kWarpLanes;", []),
    ("kernels/gather.cu", "  if (i < params.num_lanes) return;  // a lane's block",
     ["num_lanes", "a lane's block"]),
    ("src/ledger/prefix.cc", '  Of<&F::refed_tokens>("replayed_tokens", "skipped + replayed")', []),
    ("src/ledger/prefix.cc", "  match.replayed = 1; figures.replayed_tokens += 1;",
     ["replayed", "replayed_tokens"]),
    ("tests/unit/plan_test.cc", "  IsSnapshotNext(); LaunchTakeOverlap(p);",
     ["IsSnapshotNext", "LaunchTakeOverlap"]),
    ("docs/capacity.md", "`terrace plan` divides a byte budget", ["terrace plan"]),
    ("docs/capacity.md", "`terrace capacity` divides a byte budget over a prefill piece", []),
    ("bench/row_codec_bench.cc", "terrace/row_codec.h in src/cli", ["terrace/row_codec.h", "src/cli"]),
    ("kernels/compress/hca.cu", "// an HCA window is no group", ["HCA window"]),
    ("CHANGELOG.md", "| LaneRecord | SequenceStep |", []),
    ("src/base/README.md", "`README.md` and [itself](README.md)", []),
]


def self_test(rules):
    """Plants retired words in a small tree: just these must be found, by their lines."""
    failures = []
    for path, line, words in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                file.write("// first\n" + line + "\n")
            found = check(root, rules)[0]
        expected = sorted(f"{path}:2: '{word}' is retired" for word in words)
        if sorted(finding.split(";")[0] for finding in found) != expected:
            failures.append(f"planted {line!r} in {path}, found {found}")
    with tempfile.TemporaryDirectory() as root:
        with open(os.path.join(root, "CONTRIBUTING.md"), "w", encoding="utf-8") as file:
            file.write("`CONTRIBUTING.md`\n`no/such.h`, see [that](lost.md)\n")
        lost = check_names(root)
    if [finding.split(" ")[1] for finding in lost] != ["'no/such.h'", "'lost.md'"]:
        failures.append(f"names of files that do not exist: found {lost}")
    return failures + self_test_route(), f"{len(PLANTED)} planted lines were told apart"


def self_test_route():
    """A way through nine files is fine; one file twice, a station of none or a short way is not."""
    rows = [f"| {i} | `src/{i}.cc` | on |\n" for i in range(MIN_STATIONS)]
    failures = []
    for lines, faults in [(rows, []), (rows + ["| 10 | `src/3.cc` | back |\n"], [12]),
                          (rows + ["| 10 | nowhere | lost |\n"], [12]), (rows[1:], [1])]:
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "docs"))
            with open(os.path.join(root, ROUTE[0]), "w", encoding="utf-8") as file:
                file.write("".join(["# Title\n", ROUTE[1] + "\n"] + lines + ["## 1. Words\n"]))
            found = check_route(root)
        if [int(finding.split(":")[1]) for finding in found] != faults:
            failures.append(f"planted a way with faults in lines {faults}, found {found}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog=f"The words are in {RULES}.")
    parser.add_argument("--root", default=os.path.join(HERE, ".."),
                        help="the tree to read (default: this one)")
    parser.add_argument("--self-test", action="store_true",
                        help="see that planted words are found, and read no tree")
    arguments = parser.parse_args()
    try:
        rules = read_rules(os.path.join(HERE, "retired_words.txt"))
    except (ValueError, re.error) as error:
        print(error, file=sys.stderr)
        return 2
    findings, sum_up = self_test(rules) if arguments.self_test else check(arguments.root, rules)
    for finding in findings:
        print(finding)
    print(sum_up if not findings else f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
