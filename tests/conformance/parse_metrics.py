"""Reads metrics with Prometheus' own parser and finds fault with what its conventions forbid.

usage: parse_metrics.py TEXT JSON

TEXT is the text format, JSON the same figures as JSON. Prints one line a sample: name, labels, value.
Exits 77 where prometheus_client is not installed.
"""

import json
import re
import sys

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    sys.exit(77)

# JSON alone has them: they name things.
NAMES = {"kind", "ratio", "first_stale_state"}


def numbers(value):
    if isinstance(value, dict):
        return [n for key, v in value.items() if key not in NAMES for n in numbers(v)]
    if isinstance(value, list):
        return [n for v in value for n in numbers(v)]
    return [value]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read()
    with open(sys.argv[2], encoding="utf-8") as file:
        figures = json.load(file)
    faults = []
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    samples = [sample for family in families for sample in family.samples]
    keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples]
    for what, of in (("family", names), ("sample", keys)):
        faults += [f"{what} {one} stands twice" for one in set(of) if of.count(one) > 1]
    for family in families:
        if family.type not in ("counter", "gauge"):
            faults.append(f"{family.name} is of type {family.type}")
        if not re.fullmatch(r"terrace(_[a-z]+)+", family.name):
            faults.append(f"{family.name} is no name by the conventions")
        if not family.documentation or not family.samples:
            faults.append(f"{family.name} has no help or no samples")
        for sample in family.samples:
            if sample.name.endswith("_total") != (family.type == "counter"):
                faults.append(f"{sample.name} is a {family.type}")
            if family.type == "counter" and sample.value < 0:
                faults.append(f"{sample.name} is below 0")
    told = sorted(s.value for s in samples if not s.name.endswith("_info"))
    if told != sorted(numbers(figures)):
        faults.append("JSON has other figures than the text")
    for fault in faults:
        print(fault, file=sys.stderr)
    for sample in samples:
        labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
        print(sample.name, labels or "-", int(sample.value))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
