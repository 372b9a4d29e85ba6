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
