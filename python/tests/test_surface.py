"""Every public call of the C++ classes is there in Python, and everything has types and words."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import terrace_kv as tk

ROOT = Path(__file__).parents[2]
HEADERS = ROOT / "include" / "terrace"
STUB = Path(tk.__file__).with_name("_terrace.pyi")

# What Python says in another way, and why.
ELSEWHERE = {
    "create": "the class is called",
    "stream": "the caller names it, or its framework does",
}


def calls_of(header: str, name: str) -> set[str]:
    """The public member functions of a C++ class, by their names in Python."""
    path = HEADERS / header
    if not path.exists():
        pytest.skip("the headers are not here")
    text = re.sub(r"//[^\n]*", "", path.read_text())
    body = text.split(f"class {name} {{")[1].split("private:")[0]
    names = re.findall(r"[\w>&*]\s+&?\*?(\w+)\([^;{]*\)\s*(?:const)?\s*[;{]", body)
    snake = {re.sub(r"(?<!^)(?<![A-Z])(?=[A-Z])", "_", n).lower() for n in names if n != name}
    return snake - set(ELSEWHERE)


@pytest.mark.parametrize(
    ("header", "name"), [("ledger.h", "Ledger"), ("store.h", "Store"), ("cache.h", "Cache")]
)
def test_every_call_of_cpp_is_there(header: str, name: str) -> None:
    expected = calls_of(header, name)
    assert len(expected) > 15
    assert expected <= set(dir(getattr(tk, name)))


@pytest.mark.parametrize("name", ["Ledger", "Store"])
def test_a_cache_has_every_call_of_its_parts(name: str) -> None:
    only_of_parts = {"set_rope_tables", "layers"}  # a cache makes its tables, and holds all layers
    part = {n for n in dir(getattr(tk, name)) if not n.startswith("_")}
    assert part - only_of_parts <= set(dir(tk.Cache))


def fields_of(header: str, name: str) -> set[str]:
    """The fields of a C++ struct, but for those of functions."""
    path = HEADERS / header
    if not path.exists():
        pytest.skip("the headers are not here")
    text = re.sub(r"//[^\n]*", "", path.read_text())
    body = text.split(f"struct {name} {{")[1].split("\n};")[0]
    lines = [line for line in body.splitlines() if re.match(r"  (?!friend|static)\w", line)]
    fields = [re.search(r"[\w>*]\s+(\w+)(?:\[\w+\])?(?:\s*=\s*[^;]*|\{\})?;", line) for line in lines]
    return {field[1] for field in fields if field is not None}


@pytest.mark.parametrize(
    ("header", "name", "elsewhere"),
    [
        ("capacity.h", "CapacityPlan", set()),
        ("capacity.h", "ContextFit", set()),
        ("counters.h", "Counters", set()),
        ("cache.h", "CacheMetrics", set()),
        ("formats/rope_spec.h", "RopeSpec", set()),
        ("ledger.h", "PoolUse", set()),
        ("ledger.h", "SequenceInfo", set()),
        ("limits.h", "Limits", set()),
        ("metrics.h", "LedgerMetrics", set()),
        ("metrics.h", "PoolMetrics", set()),
        ("model.h", "ModelSpec", set()),
        ("model.h", "PlaneSpec", set()),
        ("model.h", "PoolSpec", set()),
        ("page_view.h", "PageView", {"base"}),  # address
        ("prefix.h", "PrefixFigures", set()),
        ("prefix.h", "PrefixMatch", set()),
        ("prefix.h", "PrefixOptions", {"hash"}),  # for tests of the C++ library
        ("store.h", "StoreMetrics", set()),
    ],
)
def test_every_field_of_cpp_is_there(header: str, name: str, elsewhere: set[str]) -> None:
    expected = fields_of(header, name)
    assert len(expected) > 1
    python = getattr(tk, {"PageView": "Pages"}.get(name, name))
    assert expected - elsewhere <= set(dir(python))


def test_records_and_shortages_have_every_field() -> None:
    assert fields_of("prefix.h", "PrefixEvent") == set(tk.PREFIX_EVENT.names or ())
    assert fields_of("ledger.h", "PoolUse") == set(tk.POOL_USE.names or ())
    assert fields_of("ledger.h", "SequenceInfo") == set(tk.SEQUENCE_INFO.names or ())
    assert fields_of("ledger.h", "Shortage") <= set(vars(tk.OutOfBlocks("")))
    text = re.sub(r"//[^\n]*", "", (HEADERS / "prefix.h").read_text())
    kinds = re.findall(r"\bk([A-Z]\w+)", text.split("struct PrefixEvent {")[1].split("};")[0])
    snake = [re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower() for kind in kinds]
    assert tuple(snake) == tk.PREFIX_EVENT_KINDS


@pytest.mark.parametrize(
    ("header", "name", "call", "elsewhere"),
    [
        ("model.h", "LayeredModelOptions", "make_model", set()),
        ("ledger.h", "SequenceRequest", "allocate_sequence", {"refeed"}),  # two arguments
    ],
)
def test_every_option_is_an_argument(header: str, name: str, call: str, elsewhere: set[str]) -> None:
    signature = STUB.read_text().split(f"def {call}(")[1].split(") ->")[0]
    arguments = set(re.findall(r"(\w+):", signature))
    assert fields_of(header, name) - elsewhere <= arguments


def public_things() -> list[tuple[str, object]]:
    things: list[tuple[str, object]] = []
    for name in tk.__all__:
        thing = getattr(tk, name)
        things.append((name, thing))
        if inspect.isclass(thing) and thing.__module__.startswith("terrace_kv"):
            things += [
                (f"{name}.{member}", getattr(thing, member))
                for member in dir(thing)
                if not member.startswith("_")
            ]
    return things


def test_calls_have_docstrings() -> None:
    for name, thing in public_things():
        if callable(thing):
            assert (thing.__doc__ or "").strip(), f"{name} says nothing"


def test_the_stubs_name_everything() -> None:
    stub = STUB.read_text()
    for name, thing in public_things():
        if getattr(thing, "__module__", "") == "terrace_kv._terrace":
            assert re.search(rf"\b{name.split('.')[-1]}\b", stub), f"{name} is not in the stubs"
    assert STUB.with_name("py.typed").exists()


def test_the_stubs_are_those_of_the_module(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "python_stubs.sh"
    if importlib.util.find_spec("nanobind") is None or not script.exists():
        pytest.skip("nanobind, which writes stubs, is not installed")
    subprocess.run([script, "--python", sys.executable, tmp_path], check=True)
    for name in ("_terrace.pyi",):
        assert (tmp_path / name).read_text() == (STUB.parent / name).read_text()
