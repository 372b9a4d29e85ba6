"""Calls that are bound once and made many times."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from conftest import LATENT, WINDOW, rows_of, run_step

import terrace_kv as tk


def test_a_bound_write_follows_the_steps(cache: tk.Cache) -> None:
    rows = np.zeros((300, LATENT), dtype=np.uint16)
    out = np.zeros((300, WINDOW, LATENT), dtype=np.uint16)
    sequence = run_step(cache, 300)
    write = cache.bind_write(0, swa=rows, rotated=True)
    gather = cache.bind_gather_window(0, out)
    rows[:] = rows_of(range(300))
    assert write() is None
    assert gather() is out
    assert gather.out is out
    np.testing.assert_array_equal(out[299], rows[300 - WINDOW :])
    cache.commit(sequence, [3])
    cache.begin(cache.append(sequence))
    rows[0] = rows_of(range(1000, 1001))[0]
    write(None)
    gather(stream=0)
    np.testing.assert_array_equal(out[0, -1], rows[0])


def test_too_few_rows_for_a_later_step(cache: tk.Cache) -> None:
    run_step(cache, 8)
    write = cache.bind_write(0, swa=rows_of(range(8)), rotated=True)
    write()
    run_step(cache, 9)
    with pytest.raises(tk.InvalidArgument, match="swa has 8 rows, the step 9"):
        write()


def test_every_read_can_be_bound(cache: tk.Cache) -> None:
    run_step(cache, 512)
    cache.write(1, entries=rows_of(range(128)), rotated=True)
    last = np.array([511], dtype=np.int32)
    chosen = np.array([[3, 100]], dtype=np.int32)
    lengths = np.zeros(1, dtype=np.int32)
    slots = np.zeros((1, 128), dtype=np.int32)
    rows = np.zeros((1, 128, LATENT), dtype=np.uint16)

    np.testing.assert_array_equal(
        cache.bind_translate_visible(1, None, slots, lengths, queries=last)(),
        cache.translate_visible(1, 128, queries=last),
    )
    assert lengths.tolist() == [128]
    np.testing.assert_array_equal(
        cache.bind_translate_top_k(1, chosen, slots[:, :64].copy(), queries=last)(),
        cache.translate_top_k(1, chosen, queries=last),
    )
    np.testing.assert_array_equal(
        cache.bind_translate_window(0, slots, queries=last)(),
        cache.translate_window(0, queries=last),
    )
    np.testing.assert_array_equal(
        cache.bind_gather_visible(1, 128, rows, queries=last)(),
        cache.gather_visible(1, 128, queries=last),
    )
    np.testing.assert_array_equal(
        cache.bind_gather_top_k(1, chosen, rows[:, :2].copy(), queries=last)(),
        cache.gather_top_k(1, chosen, queries=last),
    )


def test_a_bound_call_keeps_its_tensors_and_store(cache: tk.Cache) -> None:
    run_step(cache, 300)
    rows = rows_of(range(300))
    gone = weakref.ref(rows)
    write = cache.bind_write(0, swa=rows, rotated=True)
    store = cache.store
    del rows, cache
    gc.collect()
    assert gone() is not None
    write()
    np.testing.assert_array_equal(
        store.gather_window(0, queries=np.array([299], dtype=np.int32))[0],
        rows_of(range(300))[300 - WINDOW :],
    )
    del write
    gc.collect()
    assert gone() is None


def test_a_resized_tensor_is_refused(cache: tk.Cache) -> None:
    run_step(cache, 4)
    rows = rows_of(range(4))
    write = cache.bind_write(0, swa=rows, rotated=True)
    write()
    rows.resize((400, LATENT), refcheck=False)
    with pytest.raises(tk.FailedPrecondition, match="swa was resized or moved"):
        write()


def test_binding_checks_at_once(cache: tk.Cache) -> None:
    with pytest.raises(tk.InvalidArgument, match="channels"):
        cache.bind_write(0, swa=np.zeros((4, 100), dtype=np.uint16))
    with pytest.raises(TypeError):
        tk.BoundCall()
