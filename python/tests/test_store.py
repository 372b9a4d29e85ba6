"""The worker's calls on the host backend, with NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import KEY, LATENT, WINDOW, bf16, rows_of, run_step

import terrace_kv as tk


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, dtype=np.uint16)


def test_window_rows_come_back(cache: tk.Cache) -> None:
    run_step(cache, 300)
    rows = rows_of(range(300))
    cache.write(0, swa=rows, rotated=True)
    window = cache.gather_window(0, queries=np.array([299], dtype=np.int32))
    assert window.shape == (1, WINDOW, LATENT)
    assert window.dtype == np.uint16
    np.testing.assert_array_equal(window[0], rows[300 - WINDOW :])
    assert cache.read_counters().nonfinite_values == 0


def test_entries_and_keys_come_back(cache: tk.Cache) -> None:
    run_step(cache, 512)
    entries = rows_of(range(128))
    # One exponent a row: FP8 keys have a scale a row, so powers of two are exact.
    keys = np.repeat(bf16(np.exp2(np.arange(128) % 8))[:, None], KEY, axis=1)
    cache.write(1, entries=entries, indexer=keys, rotated=True)
    last = np.array([511], dtype=np.int32)
    seen = cache.gather_visible(1, 128, queries=last)
    np.testing.assert_array_equal(seen[0], entries)
    np.testing.assert_array_equal(cache.gather_visible(1, 128, queries=last, plane="indexer")[0], keys)
    chosen = np.array([[5, 0, 127, -1]], dtype=np.int32)
    picked = cache.gather_top_k(1, chosen, queries=last)
    np.testing.assert_array_equal(picked[0, :3], entries[[5, 0, 127]])
    assert not picked[0, 3].any()
    out = zeros(1, 64, LATENT)
    assert cache.gather_visible(1, out=out, queries=last) is out
    np.testing.assert_array_equal(out[0], entries[:64])
    assert cache.read_counters().truncated_queries == 1


def test_slots_point_into_the_pages(cache: tk.Cache) -> None:
    run_step(cache, 512)
    entries = rows_of(range(128))
    cache.write(1, entries=entries, rotated=True)
    last = np.array([511], dtype=np.int32)
    lengths = np.zeros(1, dtype=np.int32)
    slots = cache.translate_visible(1, 128, lengths=lengths, queries=last)
    assert slots.dtype == np.int32
    assert slots.shape == (1, 128)
    assert lengths.tolist() == [128]
    pages = cache.pages(1)
    data = np.asarray(pages.data)
    block, offset = np.divmod(slots[0], pages.entries_per_block)
    np.testing.assert_array_equal(data[block, offset].view(np.uint16), entries)
    chosen = np.array([[3, 7]], dtype=np.int32)
    picked = cache.translate_top_k(1, chosen, queries=last)
    assert picked.shape == (1, 64)
    assert picked[0, :2].tolist() == slots[0, [3, 7]].tolist()
    assert (picked[0, 2:] == -1).all()
    window = cache.translate_window(0, lengths=lengths, queries=last)
    assert window.shape == (1, 128)
    assert lengths.tolist() == [128]
    np.testing.assert_array_equal(
        cache.translate_window(0)[511], window[0]
    )  # no queries: every row asks


def test_queries_may_be_a_number(cache: tk.Cache) -> None:
    run_step(cache, 300)
    cache.write(0, swa=rows_of(range(300)), rotated=True)
    assert cache.gather_window(0, queries=3).shape == (3, WINDOW, LATENT)
    assert cache.gather_window(0, queries=0).shape == (0, WINDOW, LATENT)
    assert cache.gather_window(0).shape == (300, WINDOW, LATENT)
    none = np.zeros(0, dtype=np.int32)
    assert cache.gather_window(0, queries=none).shape == (0, WINDOW, LATENT)


def test_layers_wait_for_the_last_plan(
    cache: tk.Cache, make_cache: Callable[..., tk.Cache]
) -> None:
    sequence = run_step(cache, 10)
    plan = cache.append(sequence, 1)
    for late in (cache.gather_window, cache.store.gather_window):
        with pytest.raises(tk.FailedPrecondition, match="Begin"):
            late(0)
    cache.begin(plan)
    assert len(cache.gather_window(0)) == 1
    ahead = make_cache(in_flight_plans=2)
    sequence = run_step(ahead, 10)
    ahead.append(sequence, 1)
    assert len(ahead.gather_window(0)) == 10


def test_padded_steps(cache: tk.Cache) -> None:
    sequence = cache.allocate_sequence([1] * 5)
    cache.begin(cache.append(sequence.id, 5), padded_token_rows=16)
    step = cache.step()
    assert (step.number, step.num_sequences, step.num_token_rows) == (1, 1, 5)
    assert step.padded_token_rows == 16
    assert step.num_entry_rows[cache.model.full_pool(1)] == 1
    cache.write(0, swa=rows_of(range(16)), rotated=True, graph=True)
    out = cache.gather_window(0)
    assert out.shape[0] == 16
    assert not out[5:].any()


def test_raw_slots(cache: tk.Cache) -> None:
    rows = rows_of(range(6))
    slots = np.array([0, 70, 3, -1, 5, 9], dtype=np.int32)
    cache.write_slots(1, rows, slots, rotated=True)
    back = cache.read_slots(1, slots)
    np.testing.assert_array_equal(back[[0, 1, 2, 4, 5]], rows[[0, 1, 2, 4, 5]])
    assert not back[3].any()
    out = zeros(6, LATENT)
    assert cache.read_slots(1, slots, out) is out
    cache.write_slots(1, rows, slots, np.arange(6, dtype=np.int32) * 4)  # rotated on the way
    assert (cache.read_slots(1, slots)[1] != rows[1]).any()
    with pytest.raises(tk.InvalidArgument, match="positions"):
        cache.write_slots(1, rows, slots)
    before = cache.read_counters().skipped_slots
    cache.write_slots(1, rows, np.full(6, 1 << 30, dtype=np.int32), rotated=True)
    assert cache.read_counters().skipped_slots == before + 6


def test_blocks_are_copied(cache: tk.Cache) -> None:
    rows = rows_of(range(64))
    cache.write_slots(1, rows, np.arange(64, dtype=np.int32), rotated=True)
    cache.copy_blocks("csa", [0], [2])
    back = cache.read_slots(1, np.arange(128, 192, dtype=np.int32))
    np.testing.assert_array_equal(back, rows)
    with pytest.raises(tk.InvalidArgument):
        cache.copy_blocks("csa", [0], [0])
    with pytest.raises(tk.InvalidArgument, match="2 sources for 1"):
        cache.copy_blocks("csa", [0, 1], [2])


def test_a_store_begins_plans_in_order(model: tk.ModelSpec, limits: tk.Limits) -> None:
    capacity = tk.plan_capacity(model, "96MiB", limits=limits)
    ledger = tk.Ledger(capacity)
    store = tk.Store(model, capacity.geometry, backend="host", host_threads=1)
    assert store.backend() == "host"
    assert store.device == 0
    assert store.layers == range(3)
    assert store.model == model
    assert store.geometry.fingerprint == ledger.geometry.fingerprint
    assert store.memory_bytes() == capacity.memory_bytes - capacity.unused_bytes
    with pytest.raises(tk.FailedPrecondition, match="Begin"):
        store.gather_window(0, queries=1)
    sequence = ledger.allocate_sequence([1] * 100)
    first = ledger.append(sequence.id, 50)
    second = ledger.append(sequence.id, 50)
    with pytest.raises(tk.FailedPrecondition, match="snapshot"):
        store.begin(second)
    store.begin(first)
    with pytest.raises(tk.InvalidArgument):
        store.begin(first)
    store.begin(ledger.snapshot())
    store.begin(second)
    store.synchronize()


def test_rows_rotate_with_the_callers_tables(model: tk.ModelSpec, limits: tk.Limits) -> None:
    capacity = tk.plan_capacity(model, "96MiB", limits=limits)
    ledger = tk.Ledger(capacity)
    store = tk.Store(model, capacity.geometry, backend="host", host_threads=1)
    sequence = ledger.allocate_sequence([1] * 100)
    store.begin(ledger.append(sequence.id, 100))
    rows = rows_of(range(100))
    with pytest.raises(tk.FailedPrecondition, match="SetRopeTables"):
        store.write(0, swa=rows)
    tables = [tk.formats.rope_table(limits.max_context_tokens, rope) for rope in model.ropes]
    with pytest.raises(tk.InvalidArgument, match="1 rope tables for 2"):
        store.set_rope_tables(tables[:1])
    with pytest.raises(tk.InvalidArgument, match="float32"):
        store.set_rope_tables([table.astype(np.float64) for table in tables])
    store.set_rope_tables(tables)
    store.write(0, swa=rows)
    slots = store.translate_window(0, queries=np.array([99], dtype=np.int32))[0, :100]
    expected, bad = tk.formats.encode(rows, "bf16", page_rows=1, rope_table=tables[0][:100])
    assert bad == 0
    np.testing.assert_array_equal(
        store.read_slots(0, slots, pool="window"), expected.view(np.uint16)
    )


def test_layers_of_a_pipeline(model: tk.ModelSpec, limits: tk.Limits) -> None:
    geometry = tk.plan_capacity(model, "96MiB", limits=limits).geometry
    store = tk.Store(model, geometry, layers=range(1, 3), backend="host", host_threads=1)
    assert store.layers == range(1, 3)
    with pytest.raises(tk.InvalidArgument, match="layer 0"):
        store.pages(0, "window")
    with pytest.raises(tk.InvalidArgument, match="step 1"):
        tk.Store(model, geometry, layers=range(0, 3, 2), backend="host")
    with pytest.raises(tk.InvalidArgument, match="empty"):
        tk.Store(model, geometry, layers=range(2, 2), backend="host")
    with pytest.raises(tk.InvalidArgument):
        tk.Store(model, geometry, layers=range(2, 9), backend="host")


def test_a_cache_has_the_parts(cache: tk.Cache, model: tk.ModelSpec) -> None:
    assert cache.model == model
    assert cache.geometry.fingerprint == cache.capacity.geometry.fingerprint
    assert cache.backend() == "host"
    assert cache.device == 0
    sequence = cache.ledger.allocate_sequence([1] * 10)
    assert cache.num_sequences() == 1
    plan = cache.ledger.append(sequence.id, 10)
    cache.store.begin(plan)
    assert cache.step().number == 1
    store = cache.store
    del cache
    assert store.step().number == 1


def test_global_scales() -> None:
    model = tk.make_model(ratios=[0], latent_format="nvfp4", overlap=False)
    limits = tk.Limits(max_sequences=2, max_step_tokens=256, max_context_tokens=1024)
    cache = tk.Cache(model, "16MiB", limits=limits, backend="host", host_threads=1)
    cache.set_global_scale(0, "window", 0.5)
    run_step(cache, 10)
    cache.write(0, swa=rows_of(range(10)))
    with pytest.raises(tk.FailedPrecondition):
        cache.set_global_scale(0, "window", 0.25)
    with pytest.raises(tk.InvalidArgument):
        cache.set_global_scale(0, "window", float("nan"))
    rows = cache.gather_window(0, queries=np.array([9], dtype=np.int32), rotate=True)
    assert rows.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.write(0, swa=rows_of(range(4))), "swa has 4 rows, the step 300 token rows"),
        (lambda c: c.write(0, swa=zeros(300, 511)), "511 channels, not 512"),
        (lambda c: c.write(0, swa=zeros(300 * 512)), "2 dimensions"),
        (lambda c: c.write(0, swa=np.zeros((300, 512), dtype=np.float32)), "bf16"),
        (lambda c: c.write(0, swa=np.zeros((300, 512), dtype=np.int16)), "bf16"),
        (lambda c: c.write(0, swa=zeros(300, 1024)[:, ::2]), "side by side"),
        (lambda c: c.write(0, swa=zeros(300, 516)[:, :512], rotated=True), "multiple of 8"),
        (lambda c: c.write(0, swa="rows"), "no tensor"),
        (lambda c: c.write(0, swa=[[1, 2]]), "no tensor"),
        (lambda c: c.write(7, swa=zeros(300, 512)), "layer 7"),
        (lambda c: c.write(0, entries=zeros(300, 512)), "no full pool"),
        (lambda c: c.write(1, entries=zeros(74, 512)), "75 entries that close"),
        (lambda c: c.write(2, indexer=zeros(2, 128), rotated=True), "no plane 1"),
        (lambda c: c.gather_window(0, zeros(300, 100, 512)), "100 rows a query, not 128"),
        (lambda c: c.gather_window(0, zeros(2, 128, 512)), "for 2 queries, not for 300"),
        (lambda c: c.gather_window(0, queries=-1), "negative"),
        (lambda c: c.gather_window(0, queries=np.zeros(2, dtype=np.int64)), "int32"),
        (lambda c: c.gather_visible(1), "neither max_entries nor out"),
        (lambda c: c.gather_visible(1, 0), "not above 0"),
        (lambda c: c.gather_visible(1, 8, plane="scales"), '"latent", "indexer"'),
        (lambda c: c.gather_top_k(1, np.zeros((300, 4), dtype=np.int64)), "int32"),
        (lambda c: c.gather_top_k(1, np.zeros((3, 4), dtype=np.int32)), "for 3 queries"),
        (lambda c: c.translate_window(0, np.zeros((300, 100), dtype=np.int32)), "100 columns"),
        (
            lambda c: c.translate_window(0, lengths=np.zeros(3, dtype=np.int32)),
            "lengths is for 3 queries",
        ),
        (lambda c: c.gather_window(0, rotate=True), "cannot be rotated again"),
        (lambda c: c.begin(c.snapshot(), stream="fast"), "stream is a str"),
    ],
)
def test_bad_arguments_name_what_is_wrong(
    cache: tk.Cache, call: Callable[[tk.Cache], object], message: str
) -> None:
    run_step(cache, 300)
    with pytest.raises(tk.InvalidArgument, match=message):
        call(cache)


def test_what_is_written_must_be_writable(cache: tk.Cache) -> None:
    run_step(cache, 4)
    out = zeros(4, WINDOW, LATENT)
    out.flags.writeable = False
    with pytest.raises(tk.InvalidArgument, match="read-only"):
        cache.gather_window(0, out)
    rows = rows_of(range(4))
    rows.flags.writeable = False
    cache.write(0, swa=rows)  # what is read need not be


def test_strided_rows(cache: tk.Cache) -> None:
    run_step(cache, 300)
    wide = zeros(300, 640)
    wide[:, 64:576] = rows_of(range(300))
    cache.write(0, swa=wide[:, 64:576], rotated=True)
    out = zeros(2, 160, 576)[:, :WINDOW, :LATENT]
    cache.gather_window(0, out, queries=np.array([299, 0], dtype=np.int32))
    np.testing.assert_array_equal(out[0], rows_of(range(300))[300 - WINDOW :])


def test_memory_of_the_callers_own(model: tk.ModelSpec, limits: tk.Limits) -> None:
    class Pool:
        def __init__(self) -> None:
            self.arrays: dict[int, np.ndarray] = {}
            self.taken = 0

        def allocate(self, bytes: int, alignment: int, stream: int) -> int | None:
            array = np.zeros(bytes + alignment, dtype=np.uint8)
            address = -(-array.ctypes.data // alignment) * alignment
            self.arrays[address] = array
            self.taken += bytes
            return address

        def deallocate(self, address: int, bytes: int, stream: int) -> None:
            del self.arrays[address]

    pool = Pool()
    cache = tk.Cache(
        model, "96MiB", limits=limits, backend="host", host_threads=1, memory_resource=pool
    )
    assert pool.taken >= cache.memory_bytes()
    run_step(cache, 300)
    cache.write(0, swa=rows_of(range(300)), rotated=True)
    del cache
    assert not pool.arrays
    geometry = tk.plan_capacity(model, "96MiB", limits=limits).geometry
    pool.allocate = lambda bytes, alignment, stream: None  # type: ignore[method-assign]
    with pytest.raises(tk.ResourceExhausted):
        tk.Store(model, geometry, backend="host", memory=pool)
