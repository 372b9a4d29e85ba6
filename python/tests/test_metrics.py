"""What a monitor and a router are told."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import terrace_kv as tk
from terrace_kv._types import Records

PROMPT = np.arange(1000, dtype=np.int32)


def kinds(events: Records) -> list[str]:
    return [tk.PREFIX_EVENT_KINDS[kind] for kind in events["kind"]]


@pytest.fixture
def capacity(model: tk.ModelSpec, limits: tk.Limits) -> tk.CapacityPlan:
    return tk.plan_capacity(model, "96MiB", limits=limits)


def test_reasons_are_counted(ledger: tk.Ledger) -> None:
    for reason in ("finished", "preempted", "cancelled"):
        ledger.free_sequence(ledger.allocate_sequence([1]).id, reason)
    ledger.free_sequence(ledger.allocate_sequence([1]).id)
    a = ledger.allocate_sequence([1]).id
    with pytest.raises(tk.InvalidArgument, match="preempted"):
        ledger.free_sequence(a, "bored")  # type: ignore[arg-type]
    metrics = ledger.metrics()
    assert metrics.finished_sequences == 2
    assert metrics.preempted_sequences == 1 == metrics.cancelled_sequences
    assert (metrics.allocated_sequences, metrics.sequences) == (5, 1)


def test_metrics_are_those_of_the_parts(make_cache: Callable[..., tk.Cache]) -> None:
    cache = make_cache()
    sequence = cache.allocate_sequence(PROMPT)
    cache.begin(cache.append(sequence.id, 1000))
    metrics = cache.metrics()
    assert metrics.ledger.plans == 1
    assert metrics.ledger.prefix.prompt_tokens == 1000
    assert [pool.kind for pool in metrics.ledger.pools][:2] == ["window", "full"]
    for index, pool in enumerate(metrics.ledger.pools):
        assert pool.use.live == cache.use(index).live
        assert pool.shortages == 0
    assert metrics.store.memory_bytes == cache.memory_bytes()
    assert metrics.store.counters.skipped_slots == 0
    assert json.loads(metrics.to_json()).keys() == {"ledger", "store"}
    assert json.loads(metrics.ledger.to_json())["plans"] == 1
    assert "terrace_store_" in cache.store.metrics().to_prometheus()
    assert "terrace_pool_info" in cache.ledger.metrics().to_prometheus()
    assert "terrace_store_" in metrics.to_prometheus()


def test_events_have_keys_plans_and_numbers(capacity: tk.CapacityPlan) -> None:
    options = tk.PrefixOptions(record_events=True, event_keys=True, max_events=1000)
    assert (options.event_keys, options.max_events) == (True, 1000)
    ledger = tk.Ledger(capacity, prefix=options)
    salt = b"tenant\0\0"  # zeros at the end stay
    sequence = ledger.allocate_sequence(PROMPT, salt=salt, key_ranges=[(300, 400, b"picture\0")])
    plan = ledger.append(sequence.id, 1000)
    events = ledger.take_events()
    stored = events[events["kind"] == 0]
    assert stored["salt"].tolist() == [salt] * 3
    assert [b"picture\0" in keys for keys in stored["keys"]] == [False, True, False]
    assert stored["plan"].tolist() == [plan.number] * 3
    assert events["number"].tolist() == list(range(1, len(events) + 1))


def test_the_whole_index_mends_a_gap(capacity: tk.CapacityPlan) -> None:
    ledger = tk.Ledger(capacity, prefix=tk.PrefixOptions(record_events=True, max_events=1))
    sequence = ledger.allocate_sequence(PROMPT)
    ledger.append(sequence.id, 1000)
    events = ledger.take_events()
    assert kinds(events) == ["chunk_stored", "gap"]
    whole = ledger.index_events()
    assert kinds(whole)[:4] == ["cleared", *["chunk_stored"] * 3]
    assert whole["digest"][1:4].tolist() == tk.chunk_digests(PROMPT).tolist()
    assert set(whole["number"]) == {events["number"][-1]}
    assert ledger.metrics().dropped_events > 0
    with pytest.raises(tk.InvalidArgument, match="max_events"):
        tk.Ledger(capacity, prefix=tk.PrefixOptions(max_events=0))


def test_room_that_is_reserved(capacity: tk.CapacityPlan) -> None:
    ledger = tk.Ledger(capacity)
    first = ledger.allocate_sequence(PROMPT, reserve_tokens=8192)
    assert ledger.info(first.id).reserve_tokens == 8192
    assert ledger.info([first.id])["reserve_tokens"].tolist() == [8192]
    assert ledger.use("csa").reserved == 32
    assert ledger.use()["reserved"].tolist() == [
        ledger.use(index).reserved for index in range(len(capacity.pools))
    ]
    with pytest.raises(tk.InvalidArgument, match="reserve_tokens"):
        ledger.allocate_sequence(PROMPT, reserve_tokens=8193)
    assert ledger.num_sequences() == 1


def test_a_reservation_that_has_no_room_now(model: tk.ModelSpec) -> None:
    limits = tk.Limits(max_sequences=16, max_step_tokens=4096, max_context_tokens=8192)
    capacity = tk.plan_capacity(model, "48MiB", limits=limits)
    ledger = tk.Ledger(capacity)
    held = [ledger.allocate_sequence(reserve_tokens=1024).id]
    with pytest.raises(tk.OutOfBlocks) as caught:
        while True:
            held.append(ledger.allocate_sequence(reserve_tokens=8192).id)
    error = caught.value
    assert error.retry_later
    assert error.needed_blocks >= error.missing_blocks > 0
    assert error.reserved_blocks > 0
    assert error.retire == 0
    ledger.free_sequence(held)
    assert ledger.use("csa").reserved == 0
