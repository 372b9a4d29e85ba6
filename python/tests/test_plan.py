"""Plans as data: bytes that travel, arrays that are views."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import terrace_kv as tk


@pytest.fixture
def plan(ledger: tk.Ledger) -> tk.Plan:
    ids = [ledger.allocate_sequence([i] * 300).id for i in range(3)]
    return ledger.append(ids, [300, 200, 100])


def test_bytes_go_there_and_back(ledger: tk.Ledger, plan: tk.Plan) -> None:
    data = bytes(plan)
    assert len(data) == len(plan)
    again = tk.Plan.parse(data, ledger.geometry)
    assert bytes(again) == data
    assert again.number == plan.number
    for form in (bytearray(data), memoryview(data), np.frombuffer(data, dtype=np.uint8), plan):
        assert bytes(tk.Plan.parse(form, ledger.geometry)) == data


def test_corrupt_or_foreign_bytes_are_refused(
    ledger: tk.Ledger, plan: tk.Plan, model: tk.ModelSpec
) -> None:
    data = bytearray(plan)
    data[200] ^= 1
    with pytest.raises(tk.InvalidArgument):
        tk.Plan.parse(data, ledger.geometry)
    with pytest.raises(tk.InvalidArgument):
        tk.Plan.parse(b"", ledger.geometry)
    other = tk.plan_capacity(model, "64MiB", limits=tk.Limits(max_sequences=2)).geometry
    with pytest.raises(tk.FailedPrecondition):
        tk.Plan.parse(bytes(plan), other)
    with pytest.raises(tk.InvalidArgument, match="str"):
        tk.Plan.parse("plan", ledger.geometry)  # type: ignore[arg-type]


def test_arrays_are_views_of_the_plan(plan: tk.Plan) -> None:
    steps = plan.sequences
    assert steps.dtype == tk.SEQUENCE_STEP
    assert steps["count"].tolist() == [300, 200, 100]
    assert steps["token_row"].tolist() == [0, 300, 500]
    assert not steps.flags.writeable
    assert np.shares_memory(steps, plan.sequences)
    expected = np.frombuffer(memoryview(plan), dtype=np.uint8)
    assert np.shares_memory(steps, expected)
    assert plan.patches.dtype == tk.BLOCK_PATCH
    assert len(plan.patches) > 0
    assert plan.checkpoints.dtype == tk.CHECKPOINT
    assert plan.restores.dtype == tk.RESTORE
    assert plan.copies.dtype == tk.BLOCK_COPY
    assert len(plan.copies) == 0


def test_arrays_outlive_the_plan(ledger: tk.Ledger) -> None:
    sequence = ledger.allocate_sequence([1] * 500)
    steps = ledger.append(sequence.id, 500).sequences
    gc.collect()
    assert steps["count"].tolist() == [500]


def test_header(plan: tk.Plan, ledger: tk.Ledger) -> None:
    assert (plan.number, plan.generation, plan.is_snapshot) == (1, 1, False)
    assert plan.epoch == ledger.epoch()
    assert plan.fingerprint == ledger.geometry.fingerprint
    assert plan.num_token_rows == 600
    assert len(plan.num_entry_rows) == tk.MAX_POOLS
    assert sum(plan.num_entry_rows) == 75 + 50 + 25 + 2 + 1
    assert "600 rows" in repr(plan)
    snapshot = ledger.snapshot()
    assert snapshot.is_snapshot
    assert "snapshot" in repr(snapshot)


def test_threads_may_share_a_plan(plan: tk.Plan, ledger: tk.Ledger) -> None:
    data, geometry = bytes(plan), ledger.geometry
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(200):
                assert bytes(tk.Plan.parse(plan, geometry)) == data
                assert plan.sequences["count"].sum() == 600
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
