"""What is raised, for what, and that the message names the field and the values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import terrace_kv as tk


def test_the_hierarchy_is_one_tree() -> None:
    for error in (
        tk.InvalidArgument,
        tk.NotFound,
        tk.FailedPrecondition,
        tk.ResourceExhausted,
        tk.OutOfBlocks,
        tk.DeviceError,
    ):
        assert issubclass(error, tk.TerraceError)
    assert issubclass(tk.OutOfBlocks, tk.ResourceExhausted)
    assert issubclass(tk.InvalidArgument, ValueError)


def test_a_stale_handle_is_not_found(ledger: tk.Ledger) -> None:
    sequence = ledger.allocate_sequence([1, 2, 3])
    ledger.free_sequence(sequence.id)
    with pytest.raises(tk.NotFound):
        ledger.append(sequence.id, 3)
    with pytest.raises(tk.NotFound):
        ledger.free_sequence(sequence.id)
    with pytest.raises(tk.NotFound):
        ledger.info(12345)


def test_an_unknown_model_lists_the_names() -> None:
    with pytest.raises(tk.NotFound, match="deepseek-v4-flash"):
        tk.model("gpt-2")
    with pytest.raises(tk.InvalidArgument, match="ratio"):
        tk.make_model(ratios=[3])
    with pytest.raises(tk.InvalidArgument, match="flashmla_v4"):
        tk.make_model(ratios=[4], latent_format="int3")
    with pytest.raises(tk.InvalidArgument, match='"pooled", "strided"'):
        tk.make_model(ratios=[4], rule="mean")  # type: ignore[arg-type]
    with pytest.raises(tk.InvalidArgument, match="neither a name nor a ModelSpec"):
        tk.plan_capacity(17, "1GiB")  # type: ignore[arg-type]


def test_too_little_memory_says_how_much_it_takes(model: tk.ModelSpec) -> None:
    with pytest.raises(tk.ResourceExhausted, match="MiB"):
        tk.plan_capacity(model, "64KiB")


def test_a_shortage_says_which_pool_and_what_helps(model: tk.ModelSpec) -> None:
    limits = tk.Limits(max_sequences=4, max_step_tokens=4096, max_context_tokens=65536)
    capacity = tk.plan_capacity(model, "24MiB", limits=limits)
    ledger = tk.Ledger(capacity)
    held = ledger.allocate_sequence()
    most = int(capacity.max_tokens)
    fed = 0
    while fed + 2048 <= most:
        ledger.append(held.id, 2048)
        fed += 2048
    other = ledger.allocate_sequence()
    before = ledger.use()
    with pytest.raises(tk.OutOfBlocks) as caught:
        ledger.append(other.id, 4096)
        ledger.append(other.id, 4096)
        ledger.append(other.id, 4096)
    error = caught.value
    assert error.pool in ("csa", "hca")
    assert capacity.pools[error.pool_index].name == error.pool
    assert error.missing_blocks > 0
    assert error.retry_later
    assert "freed" in error.helps
    assert error.capacity == error.free + error.live + error.cached + error.draining
    assert error.capacity == before["capacity"][error.pool_index]
    ledger.free_sequence(held.id)
    ledger.append(other.id, 4096)


def test_a_shortage_that_drains_says_retire(model: tk.ModelSpec) -> None:
    limits = tk.Limits(max_sequences=2, max_step_tokens=1 << 16, max_context_tokens=1 << 16)
    capacity = tk.plan_capacity(model, "24MiB", limits=limits, in_flight_plans=2)
    ledger = tk.Ledger(capacity, in_flight_plans=2)
    most = min(int(capacity.max_tokens), 1 << 16)
    first = ledger.allocate_sequence()
    plan = ledger.append(first.id, most)
    ledger.free_sequence(first.id)
    second = ledger.allocate_sequence()
    with pytest.raises(tk.OutOfBlocks) as caught:
        ledger.append(second.id, most)
    assert caught.value.draining > 0
    assert caught.value.retire == plan.number
    assert caught.value.retire_blocks >= caught.value.missing_blocks
    assert f"retire plan {plan.number}" in caught.value.helps
    ledger.retire(plan.number)
    ledger.append(second.id, most)


def test_all_sequence_indices_taken(ledger: tk.Ledger) -> None:
    for _ in range(8):
        ledger.allocate_sequence()
    with pytest.raises(tk.ResourceExhausted) as caught:
        ledger.allocate_sequence()
    assert not isinstance(caught.value, tk.OutOfBlocks)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("seven", "not whole numbers"),
        (1.5, "not whole numbers"),
        ([1.5], r"ids\[0\]"),
        (np.zeros((2, 2), dtype=np.int64), "2 dimensions"),
        (np.zeros(2, dtype=np.float32), "not integers"),
        (-1, "beyond"),
    ],
)
def test_numbers_that_cannot_be(ledger: tk.Ledger, ids: object, message: str) -> None:
    with pytest.raises(tk.InvalidArgument, match=message):
        ledger.append(ids)  # type: ignore[arg-type]


def test_tokens_beyond_32_bits(ledger: tk.Ledger) -> None:
    with pytest.raises(tk.InvalidArgument, match=r"tokens\[1\]"):
        ledger.allocate_sequence(np.array([1, 1 << 40]))
    with pytest.raises(tk.InvalidArgument, match="not a list"):
        ledger.allocate_sequence(5)


def test_lists_of_another_length(ledger: tk.Ledger) -> None:
    a = ledger.allocate_sequence([1]).id
    b = ledger.allocate_sequence([2]).id
    with pytest.raises(tk.InvalidArgument, match="3 numbers for 2 sequences"):
        ledger.append([a, b], [1, 1, 1])
    with pytest.raises(tk.InvalidArgument):
        ledger.append([a, a])
    assert len(ledger.append([]).sequences) == 0  # a step of no sequence, for an idle rank


def test_pools_by_name_or_index(cache: tk.Cache) -> None:
    assert cache.use("csa").capacity == cache.use()["capacity"][cache.model.full_pool(1)]
    with pytest.raises(tk.InvalidArgument, match="swa, csa, hca"):
        cache.use("kv")
    with pytest.raises(tk.InvalidArgument, match="pool 9"):
        cache.use(9)
    with pytest.raises(tk.InvalidArgument, match="pool 9"):
        cache.copy_blocks(9, [0], [1])


def test_no_device_is_a_failed_precondition(
    model: tk.ModelSpec, make_cache: Callable[..., tk.Cache]
) -> None:
    try:
        make_cache(backend="cuda")
    except tk.FailedPrecondition as error:
        assert "cuda" in str(error).lower()
    with pytest.raises(tk.InvalidArgument, match='"auto", "host", "cuda"'):
        make_cache(backend="tpu")
