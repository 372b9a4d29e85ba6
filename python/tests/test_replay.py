"""The program from Python: replays, plots, the console script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import terrace_kv as tk

OPTIONS: dict[str, object] = {"sequences": 8, "requests": 20, "threads": 1, "progress": False}


@pytest.fixture(scope="module")
def result() -> dict[str, object]:
    return tk.replay(memory="1GiB", data="none", sequences=8, requests=200, progress=False)


def test_a_replay_checks_rows(tmp_path: Path) -> None:
    model = tmp_path / "model.json"
    model.write_text('{"ratios": [0, 4, 128], "max_context_tokens": 65536}')
    run = tk.replay(str(model), "256MiB", backend="host", verify=0.2, **OPTIONS)  # type: ignore[arg-type]
    assert run["ok"]
    assert run["corrupt_rows"] == 0
    assert run["verified_rows"] > 0
    assert run["backend"] == "host"


def test_the_ledger_alone(result: dict[str, object]) -> None:
    assert result["backend"] == "none"
    assert result["completed"] == result["requests"] == 200
    assert result["problem"] == ""
    occupancy = result["occupancy"]
    assert isinstance(occupancy, dict)
    for live in occupancy["live_blocks"].values():
        assert len(live) == len(occupancy["seconds"])
    series = result["series"]
    assert isinstance(series, dict)
    assert series["matched_tokens"] == sorted(series["matched_tokens"])
    assert len({len(values) for values in series.values()}) == 1


def test_progress_and_stopping() -> None:
    calls: list[tuple[int, int, int, int]] = []

    def note(*numbers: int) -> None:
        calls.append(numbers)  # type: ignore[arg-type]

    tk.replay(memory="1GiB", data="none", sequences=8, requests=50, progress=note)
    done, requests, tokens, all_tokens = calls[-1]
    assert done == requests == 50
    assert tokens <= all_tokens

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tk.replay(memory="1GiB", data="none", sequences=8, requests=50, progress=stop)


def test_a_bar_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    tk.replay(memory="1GiB", data="none", sequences=8, requests=20)
    assert "20/20 requests" in capfd.readouterr().err


def test_bad_options() -> None:
    with pytest.raises(tk.InvalidArgument, match="acceptance"):
        tk.replay(acceptance=2.0, progress=False)
    with pytest.raises(tk.InvalidArgument, match="speed"):
        tk.replay(speed=9, progress=False)
    with pytest.raises(tk.NotFound):
        tk.replay("no-such-model", progress=False)
    with pytest.raises(tk.TerraceError, match="nothing.jsonl"):
        tk.replay(trace="nothing.jsonl", progress=False)


def test_a_run_that_fails_raises() -> None:
    options = {"data": "none", "requests": 5, "progress": False, "latent_format": "nvfp4"}
    with pytest.raises(tk.TerraceError, match="too few"):
        tk.replay(memory="1MiB", **options)  # type: ignore[arg-type]


def test_plot(result: dict[str, object], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "run.svg"
    figure = tk.plot(result, str(picture))
    assert len(figure.axes) == 3
    assert len(figure.axes[0].lines) == len(result["pools"])  # type: ignore[arg-type]
    assert picture.read_text().startswith("<?xml")


def test_the_console_script(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("terrace")
    if not script.exists():
        pytest.skip("the package is not installed beside this Python")
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"terrace {tk.__version__}"
    capacity = tmp_path / "capacity.json"
    subprocess.run(
        [script, "capacity", "--model", "deepseek-v4-flash", "--memory", "40GiB", "--json", capacity],
        capture_output=True,
        check=True,
    )
    plan = tk.plan_capacity("deepseek-v4-flash", "40GiB")
    assert json.loads(capacity.read_text())["max_tokens"] == plan.max_tokens
    wrong = subprocess.run([script, "fly"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "terrace" in wrong.stderr
    module = subprocess.run(
        [sys.executable, "-m", "terrace_kv", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert module.stdout == version.stdout
