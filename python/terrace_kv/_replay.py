"""``terrace replay`` from Python."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Literal

from terrace_kv import _terrace
from terrace_kv._errors import TerraceError


def _words(options: dict[str, Any]) -> list[str]:
    """Options as the program takes them: None is left out, True is a flag."""
    words: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        option = "--" + name.replace("_", "-")
        words += [option] if value is True else [option, str(value)]
    return words


def _bar(
    progress: bool | Callable[[int, int, int, int], object],
) -> tuple[Callable[[int, int, int, int], object] | None, Callable[[], None]]:
    """What is called on a step, and what ends the bar."""
    if callable(progress):
        return progress, lambda: None
    if not progress:
        return None, lambda: None
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return None, lambda: None
    bar = tqdm(unit="token", unit_scale=True, desc="replay")

    def on_step(done: int, requests: int, tokens: int, all_tokens: int) -> None:
        bar.total = all_tokens
        bar.set_postfix_str(f"{done}/{requests} requests", refresh=False)
        bar.update(tokens - bar.n)

    return on_step, bar.close


def replay(
    model: str = "deepseek-v4-flash",
    memory: int | str = "8GiB",
    *,
    trace: str | os.PathLike[str] | None = None,
    requests: int | None = None,
    rate: float | None = None,
    seed: int | None = None,
    sequences: int | None = None,
    step_tokens: int | None = None,
    step_ms: float | None = None,
    tokens_per_second: float | None = None,
    drafts: int | None = None,
    acceptance: float | None = None,
    serial: bool = False,
    check: int | None = None,
    no_reuse: bool = False,
    checkpoints: str | None = None,
    replay_limit: int | None = None,
    approximate_replay: int | None = None,
    in_flight: int | None = None,
    backend: Literal["auto", "host", "cuda"] | None = None,
    data: Literal["rows", "none"] | None = None,
    layers: str | None = None,
    compress: bool = False,
    verify: float | None = None,
    threads: int | None = None,
    whole_chunk: bool = False,
    progress: bool | Callable[[int, int, int, int], object] = True,
    raise_on_failure: bool = True,
    **options: Any,
) -> dict[str, Any]:
    """Serves a trace with a whole Terrace, and reads back and checks the rows that it wrote.

    Options are those of ``terrace replay`` (docs/replay.md), with underscores; None keeps the
    program's default. Further keywords are passed on as options: ``latent_format="nvfp4"``.

    Args:
        model: a name, or the path of a JSON file.
        memory: of all pools, all layers; bytes, or text such as "40GiB".
        trace: Mooncake JSONL or Azure CSV; None makes a synthetic workload.
        data: "none" runs the ledger alone, at any memory.
        progress: True draws a tqdm bar if tqdm is installed; a callable is given (requests done,
            requests, tokens done, tokens) some ten times a second; what it raises ends the replay.
        raise_on_failure: whether a wrong row, a lost block or no request that fits raises.

    Returns:
        The JSON of ``terrace replay --json`` as a dict, and beside it ``ok``, ``problem``,
        ``corrupt`` (the first wrong rows), ``occupancy`` (live blocks of every pool over simulated
        seconds) and ``series`` (sums over simulated seconds), which ``plot`` draws.

    Raises:
        InvalidArgument: for options that cannot be.
        TerraceError: for a trace that cannot be read, or where the run failed.

    The GIL is released while it runs; Ctrl-C ends it.
    """
    words = _words(
        {
            "model": model,
            "memory": memory,
            "trace": None if trace is None else os.fspath(trace),
            "requests": requests,
            "rate": rate,
            "seed": seed,
            "sequences": sequences,
            "step_tokens": step_tokens,
            "step_ms": step_ms,
            "tokens_per_second": tokens_per_second,
            "drafts": drafts,
            "acceptance": acceptance,
            "serial": serial,
            "check": check,
            "no_reuse": no_reuse,
            "checkpoints": checkpoints,
            "replay_limit": replay_limit,
            "approximate_replay": approximate_replay,
            "in_flight": in_flight,
            "backend": backend,
            "data": data,
            "layers": layers,
            "compress": compress,
            "verify": verify,
            "threads": threads,
            "whole_chunk": whole_chunk,
            **options,
        }
    )
    on_step, finish = _bar(progress)
    try:
        result: dict[str, Any] = json.loads(_terrace.run_replay(words, on_step))
    finally:
        finish()
    if raise_on_failure and not result["ok"]:
        raise TerraceError("; ".join([result["problem"], *result["corrupt"]]))
    return result
