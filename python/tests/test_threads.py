"""Two threads in one object: the second is turned away, nothing is corrupted, nobody waits."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import LATENT, rows_of, run_step

import terrace_kv as tk


def both_at_once(first: Callable[[], Any], second: Callable[[], Any]) -> list[BaseException]:
    """Repeats both in threads of their own until the second has met the first, or 10 s have gone.

    Gives what was raised.
    """
    raised: list[BaseException] = []
    stop = threading.Event()

    def repeat(call: Callable[[], Any]) -> None:
        while not stop.is_set():
            try:
                call()
            except BaseException as error:  # noqa: BLE001
                raised.append(error)
                stop.set()

    threads = [threading.Thread(target=repeat, args=(call,)) for call in (first, second)]
    for thread in threads:
        thread.start()
    stop.wait(10)
    stop.set()
    for thread in threads:
        thread.join()
    return raised


def test_a_second_thread_in_a_ledger_is_turned_away(ledger: tk.Ledger) -> None:
    prompt = np.arange(8000, dtype=np.int32)

    def allocate() -> None:
        ledger.free_sequence(ledger.allocate_sequence(prompt).id)

    raised = both_at_once(allocate, allocate)
    assert raised
    assert all(type(error) is RuntimeError for error in raised)
    assert "in use by another thread" in str(raised[0])
    ledger.check_invariants()


def test_a_second_thread_in_a_store_is_turned_away(cache: tk.Cache) -> None:
    run_step(cache, 1024)
    rows = rows_of(range(1024))

    def write() -> None:
        cache.write(0, swa=rows, rotated=True)

    raised = both_at_once(write, write)
    assert raised
    assert all(type(error) is RuntimeError for error in raised)
    bound = cache.bind_write(0, swa=rows, rotated=True)
    raised = both_at_once(bound, write)
    assert raised
    assert all(type(error) is RuntimeError for error in raised)


def test_a_scheduler_and_a_worker_may_share_a_cache(make_cache: Callable[..., tk.Cache]) -> None:
    cache = make_cache("256MiB", in_flight_plans=2)
    run_step(cache, 1024)
    rows = rows_of(range(1024))
    stop = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            while not stop.is_set():
                cache.write(0, swa=rows, rotated=True)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(200):
        sequence = cache.allocate_sequence([1, 2, 3])
        cache.retire(cache.append(sequence.id, 3).number)
        cache.free_sequence(sequence.id)
    stop.set()
    worker.join()
    assert not failures


def test_probes_may_overlap(ledger: tk.Ledger) -> None:
    prompt = np.arange(8000, dtype=np.int32)
    failures: list[BaseException] = []

    def probe() -> None:
        try:
            for _ in range(300):
                ledger.probe(prompt)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=probe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_python_runs_on_while_a_call_works(cache: tk.Cache) -> None:
    run_step(cache, 1024)
    out = np.zeros((1024, 128, LATENT), dtype=np.uint16)
    cache.write(0, swa=rows_of(range(1024)), rotated=True)
    inside = threading.Event()
    ticks = 0

    def gather() -> None:
        inside.set()
        for _ in range(3):
            cache.gather_window(0, out)
        inside.clear()

    worker = threading.Thread(target=gather)
    worker.start()
    inside.wait()
    while inside.is_set():
        ticks += 1
        time.sleep(0)
    worker.join()
    assert ticks > 0


def test_eight_threads_and_the_collector(cache: tk.Cache) -> None:
    """Random calls of eight threads: each does what it says or raises, and nothing is lost."""
    rows = rows_of(range(64))
    run_step(cache, 64)
    allowed = (RuntimeError, tk.TerraceError)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        mine: list[int] = []
        views: list[Any] = []
        for _ in range(1000):
            try:
                what = choose.randrange(9)
                if what == 0:
                    mine.append(cache.allocate_sequence([seed] * choose.randrange(1, 300)).id)
                elif what == 1 and mine:
                    cache.free_sequence(mine[-1])
                    mine.pop()
                elif what == 2 and mine:
                    cache.append(mine[-1], choose.randrange(1, 40))
                elif what == 3:
                    cache.write(0, swa=rows, rotated=True)
                elif what == 4:
                    views.append(np.asarray(cache.pages(0, "window").data))
                    del views[:-3]
                elif what == 5:
                    cache.bind_write(0, swa=rows, rotated=True)()
                elif what == 6:
                    cache.gather_window(0, queries=1)
                elif what == 7:
                    cache.use()
                else:
                    gc.collect(0)
            except allowed:
                pass
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    gc.collect()
    cache.check_invariants()


def test_asyncio_engines_poll(model: tk.ModelSpec) -> None:
    """A full pool never makes a call wait: a coroutine asks again once another has freed."""
    limits = tk.Limits(max_sequences=4, max_step_tokens=4096, max_context_tokens=65536)
    capacity = tk.plan_capacity(model, "24MiB", limits=limits)
    ledger = tk.Ledger(capacity)
    most = int(capacity.max_tokens)
    order: list[str] = []

    async def serve(name: str, tokens: int, full: asyncio.Event, waits: asyncio.Event) -> None:
        sequence = ledger.allocate_sequence()
        fed = 0
        while fed < tokens:
            try:
                ledger.append(sequence.id, min(2048, tokens - fed))
                fed += min(2048, tokens - fed)
            except tk.OutOfBlocks as shortage:
                assert shortage.retry_later
                order.append(f"{name} waits")
                waits.set()
            await asyncio.sleep(0)
        full.set()
        await waits.wait()
        ledger.free_sequence(sequence.id)
        order.append(f"{name} done")

    async def engine() -> None:
        full, waits = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(serve("first", most, full, waits))
        await full.wait()
        await asyncio.gather(first, serve("second", 2048, full, waits))

    asyncio.run(asyncio.wait_for(engine(), 60))
    assert order[0] == "second waits"
    assert order[-2:] == ["first done", "second done"]
    assert ledger.num_sequences() == 0


@pytest.mark.parametrize("memory", ["96MiB"])
def test_views_outlive_their_cache_in_other_threads(
    make_cache: Callable[..., tk.Cache], memory: str
) -> None:
    views = []
    for _ in range(4):
        cache = make_cache(memory)
        run_step(cache, 64)
        cache.write(0, swa=rows_of(range(64)), rotated=True)
        views.append(np.asarray(cache.pages(0, "window").bytes))
        del cache
    sums: list[int] = []
    threads = [
        threading.Thread(target=lambda view=view: sums.append(int(view[:4].sum()))) for view in views
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(sums)) == 1
