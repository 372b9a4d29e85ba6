"""What a call from Python costs beside the same call in C++, in one run.

    python python/bench/overhead.py [--backend cuda] [--rounds 21]

Each figure is the median of the rounds, in nanoseconds a call; Python and C++ take turns. On the host
backend a call does its work before it returns, so the calls are made as small as they can be: one
row, one query.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import terrace_kv as tk
from terrace_kv import _terrace

SEQUENCES = 256


def python_ns(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - start) / count


def line(name: str, python: list[float], cpp: list[float], most: float) -> None:
    ours, theirs = statistics.median(python), statistics.median(cpp)
    more = ours - theirs
    print(f"{name:32} {ours:10.0f} {theirs:10.0f} {more:10.0f} {most:8.0f}  {'' if more <= most else 'MORE'}")


def decode(rounds: int, steps: int) -> None:
    """A decode step of 256 sequences: append and commit."""
    model = tk.deepseek_v4_flash()
    limits = tk.Limits(max_sequences=SEQUENCES, max_context_tokens=1 << 16)
    ledger = tk.Ledger(tk.plan_capacity(model, "200GiB", limits=limits))
    ids = np.array([ledger.allocate_sequence([i] * 100).id for i in range(SEQUENCES)], dtype=np.uint64)
    for some in np.split(ids, 8):
        ledger.append(some, 100)
    tokens = np.full(SEQUENCES, 7, dtype=np.int32)

    def step() -> None:
        ledger.append(ids)
        ledger.commit(ids, tokens)

    python: list[float] = []
    cpp: list[float] = []
    for _ in range(rounds):
        python.append(python_ns(step, steps))
        cpp.append(_terrace.bench_decode_ns(ledger, ids, steps))
    line("decode step, 256 sequences", python, cpp, 2000)


def tensors(backend: str) -> tuple[Callable[..., Any], str]:
    """What makes zeros for the backend, and the name of bf16 there."""
    if backend == "cuda":
        import torch

        types = {"bf16": torch.bfloat16, "int32": torch.int32}
        return lambda shape, kind: torch.zeros(shape, dtype=types[kind], device="cuda"), "torch"
    return lambda shape, kind: np.zeros(shape, dtype="uint16" if kind == "bf16" else kind), "numpy"


def store_calls(backend: Any, rounds: int, count: int) -> None:
    """Bound and unbound calls of a store, each with one row or query."""
    model = tk.make_model(ratios=[0, 4], latent_format="bf16")
    limits = tk.Limits(max_sequences=2, max_step_tokens=256, max_context_tokens=1024)
    cache = tk.Cache(model, "64MiB", limits=limits, backend=backend, host_threads=1)
    make, _ = tensors(cache.backend())
    sequence = cache.allocate_sequence([1])
    cache.begin(cache.append(sequence.id, 1))
    rows = make((1, 512), "bf16")
    slots, lengths = make((1, 128), "int32"), make((1,), "int32")
    top_k, some = make((1, 4), "int32"), make((1, 4, 512), "bf16")
    stream = None
    calls: list[tuple[str, Callable[[], object], Any, float]] = [
        (
            "write",
            lambda: cache.write(0, swa=rows, rotated=True, stream=stream),
            cache.bind_write(0, swa=rows, rotated=True),
            3000,
        ),
        (
            "translate_window",
            lambda: cache.translate_window(0, slots, lengths, queries=1, stream=stream),
            cache.bind_translate_window(0, slots, lengths, queries=1),
            3000,
        ),
        (
            "gather_top_k",
            lambda: cache.gather_top_k(1, top_k, some, queries=1, stream=stream),
            cache.bind_gather_top_k(1, top_k, some, queries=1),
            3000,
        ),
    ]
    for name, call, bound, most in calls:
        unbound_ns: list[float] = []
        bound_ns: list[float] = []
        cpp: list[float] = []
        for _ in range(rounds):
            bound_ns.append(python_ns(bound, count))
            cpp.append(_terrace.bench_bound_ns(bound, count))
            unbound_ns.append(python_ns(call, count))
            cache.synchronize()
        line(f"{name}, bound", bound_ns, cpp, 1000)
        line(f"{name}, unbound", unbound_ns, cpp, most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backend", choices=["auto", "host", "cuda"], default="host")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--count", type=int, default=1000, help="calls of a round")
    arguments = parser.parse_args()
    print(f"{'nanoseconds a call':32} {'Python':>10} {'C++':>10} {'more':>10} {'at most':>8}")
    decode(arguments.rounds, 50)
    store_calls(arguments.backend, arguments.rounds, arguments.count)


if __name__ == "__main__":
    main()
