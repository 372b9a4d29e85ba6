"""Tensors of every framework that is installed, in and out without a copy."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import LATENT, WINDOW, rows_of, run_step

import terrace_kv as tk

LAST = np.array([299], dtype=np.int32)


def check(cache: tk.Cache) -> None:
    np.testing.assert_array_equal(
        cache.gather_window(0, queries=LAST)[0], rows_of(range(300))[300 - WINDOW :]
    )


def test_blocks_of_several_pages() -> None:
    model = tk.make_model(ratios=[1], latent_format="bf16", indexer_ratio=0, entries_per_page=64)
    limits = tk.Limits(max_sequences=2, max_step_tokens=512, max_context_tokens=1024)
    cache = tk.Cache(model, "64MiB", limits=limits, backend="host", host_threads=1)
    sequence = cache.allocate_sequence(np.arange(300, dtype=np.int32))
    cache.begin(cache.append(sequence.id, 300))
    rows = rows_of(range(300))
    cache.write(0, swa=rows, entries=rows, rotated=True)
    pages = cache.pages(0)
    assert (pages.entries_per_block, pages.entries_per_page) == (256, 64)
    assert pages.num_pages == 4 * pages.num_blocks
    assert pages.page_stride * 4 == pages.block_stride
    lengths = np.zeros(1, dtype=np.int32)
    last = np.array([299], dtype=np.int32)
    slots = cache.translate_visible(0, 512, lengths=lengths, queries=last)[0, :300]
    page, offset = np.divmod(slots, pages.entries_per_page)
    data = np.asarray(pages.data)
    assert data.shape == (pages.num_pages, 64, 1024)
    np.testing.assert_array_equal(data[page, offset].view(np.uint16), rows)


def test_views_by_dlpack_and_the_buffer_protocol(cache: tk.Cache) -> None:
    run_step(cache, 300)
    cache.write(0, swa=rows_of(range(300)), rotated=True)
    pages = cache.pages(0, "window")
    assert (pages.format, pages.data_bytes, pages.scale_bytes) == ("bf16", 1024, 0)
    by_buffer = np.asarray(pages.bytes)
    by_dlpack = np.from_dlpack(pages.bytes)
    assert by_buffer.shape == (pages.num_blocks, pages.page_bytes)
    assert by_buffer.strides == (pages.block_stride, 1)
    assert by_buffer.ctypes.data == by_dlpack.ctypes.data == pages.address
    data = np.asarray(pages.data)
    assert data.shape == (pages.num_blocks, pages.entries_per_block, 1024)
    assert np.shares_memory(data, by_buffer)
    slots = cache.translate_window(0, queries=LAST)[0]
    block, offset = np.divmod(slots, pages.entries_per_block)
    np.testing.assert_array_equal(
        data[block, offset].view(np.uint16), rows_of(range(300))[300 - WINDOW :]
    )


def test_writing_through_a_view(cache: tk.Cache) -> None:
    np.asarray(cache.pages(1).data)[0, 3] = 0x3F
    row = cache.read_slots(1, np.array([3], dtype=np.int32))
    assert (row == 0x3F3F).all()


def test_scales_lie_behind_the_data() -> None:
    model = tk.make_model(ratios=[0], latent_format="flashmla_v4", overlap=False)
    limits = tk.Limits(max_sequences=2, max_step_tokens=256, max_context_tokens=1024)
    cache = tk.Cache(model, "16MiB", limits=limits, backend="host", host_threads=1)
    run_step(cache, 10)
    rows = rows_of(range(10))
    cache.write(0, swa=rows, rotated=True)
    pages = cache.pages(0, "window")
    assert np.asarray(pages.scales).shape == (pages.num_blocks, pages.entries_per_block, 8)
    slot = int(cache.translate_window(0, queries=1)[0, 0])
    block = slot // pages.entries_per_block
    encoded, _ = tk.formats.encode(rows, page_rows=pages.entries_per_block)
    first = np.asarray(pages.bytes)[block, : encoded.shape[1]]
    assert slot % pages.entries_per_block == 0
    np.testing.assert_array_equal(first[: 10 * 576], encoded[0, : 10 * 576])
    np.testing.assert_array_equal(
        np.asarray(pages.scales)[block, :10].ravel(),
        encoded[0, 64 * 576 : 64 * 576 + 10 * 8],
    )


def test_a_view_keeps_the_store_alive(cache: tk.Cache) -> None:
    run_step(cache, 300)
    cache.write(0, swa=rows_of(range(300)), rotated=True)
    view = np.asarray(cache.pages(0, "window").data)
    capsule = np.from_dlpack(cache.pages(0, "window").bytes)
    total = int(view.sum())
    positions = np.asarray(cache.step_view().token_position)
    del cache
    gc.collect()
    assert int(view.sum()) == total > 0
    assert capsule.sum() > 0
    assert positions[:300].tolist() == list(range(300))


def test_scales_behind_each_row() -> None:
    if "mxfp8_v41_il" not in tk.formats.names():
        pytest.skip("no interleaved format")
    model = tk.make_model(ratios=[0], latent_format="mxfp8_v41_il", overlap=False)
    limits = tk.Limits(max_sequences=2, max_step_tokens=256, max_context_tokens=1024)
    cache = tk.Cache(model, "16MiB", limits=limits, backend="host", host_threads=1)
    slots = np.arange(5, dtype=np.int32)
    rows = rows_of(range(5))
    cache.write_slots(0, rows, slots, pool="window", rotated=True)
    pages = cache.pages(0, "window")
    assert pages.data_stride == pages.scale_stride == 528
    assert pages.scale_offset == 512
    encoded, _ = tk.formats.encode(rows, "mxfp8_v41_il", page_rows=1)
    np.testing.assert_array_equal(np.asarray(pages.data)[0, :5], encoded[:, :512])
    np.testing.assert_array_equal(np.asarray(pages.scales)[0, :5], encoded[:, 512:528])


def test_opaque_pages() -> None:
    model = tk.make_model(ratios=[4], latent_format="bf16", state=True)
    limits = tk.Limits(max_sequences=2, max_step_tokens=256, max_context_tokens=1024)
    cache = tk.Cache(model, "32MiB", limits=limits, backend="host", host_threads=1)
    pages = cache.pages(0, "state")
    assert pages.format == "opaque"
    assert np.asarray(pages.bytes).shape == (pages.num_blocks, pages.page_bytes)
    with pytest.raises(tk.InvalidArgument):
        cache.pages(0, "state", "indexer")


def test_step_views(cache: tk.Cache) -> None:
    run_step(cache, 300)
    view = cache.step_view()
    tokens = np.asarray(view.tokens)
    assert tokens.shape == (cache.geometry.max_step_tokens, 4)
    assert tokens[:300, 1].tolist() == list(range(300))
    assert np.asarray(view.token_record)[:300].max() == 0
    table = np.asarray(view.block_table("csa"))
    assert table.shape == (8, 32)
    assert (table[0, :2] >= 0).all()
    slots = np.asarray(view.slots("csa"))[:75]
    assert (slots >= 0).all()
    assert np.asarray(view.entry_position("csa"))[:75].tolist() == list(range(0, 300, 4))
    assert np.asarray(view.slots("swa"))[:300].shape == (300,)
    assert view.header_address != 0
    with pytest.raises(tk.InvalidArgument):
        view.entry_position("swa")


def test_ml_dtypes_arrays(cache: tk.Cache) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    run_step(cache, 300)
    rows = rows_of(range(300)).view(ml_dtypes.bfloat16)
    cache.write(0, swa=rows, rotated=True)
    check(cache)
    out = np.zeros((1, WINDOW, LATENT), dtype=ml_dtypes.bfloat16)
    assert cache.gather_window(0, out, queries=LAST) is out
    np.testing.assert_array_equal(out[0].view(np.uint16), rows_of(range(300))[300 - WINDOW :])
    floats = out[0].astype(np.float32)
    assert np.isfinite(floats).all()


class OldCapsule:
    """A producer from before DLPack 1.0: it takes no max_version."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self) -> Any:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class NewCapsule(OldCapsule):
    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)


class Refuses(OldCapsule):
    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("this tensor needs a gradient")


@pytest.mark.parametrize("wrap", [OldCapsule, NewCapsule])
def test_any_producer_of_dlpack(cache: tk.Cache, wrap: Callable[[np.ndarray], Any]) -> None:
    run_step(cache, 300)
    cache.write(0, swa=wrap(rows_of(range(300))), rotated=True)
    check(cache)
    bound = cache.bind_write(0, swa=wrap(rows_of(range(300))), rotated=True)
    gc.collect()
    bound()
    check(cache)


def test_what_cannot_be_shared_says_why(cache: tk.Cache) -> None:
    run_step(cache, 4)
    with pytest.raises(tk.InvalidArgument, match="swa cannot be shared: this tensor needs a grad"):
        cache.write(0, swa=Refuses(rows_of(range(4))))
    with pytest.raises(tk.InvalidArgument, match="swa"):
        cache.write(0, swa=rows_of(range(4)).astype(">u2"))


def test_numpy_arrays_are_not_leaked(cache: tk.Cache) -> None:
    import sys

    run_step(cache, 4)
    rows = rows_of(range(4))
    before = sys.getrefcount(rows)
    for _ in range(100):
        cache.write(0, swa=rows, rotated=True)
        with pytest.raises(tk.InvalidArgument):
            cache.write(0, swa=rows[:2], rotated=True)
    assert sys.getrefcount(rows) == before


def test_pytorch_tensors(cache: tk.Cache) -> None:
    torch = pytest.importorskip("torch")
    run_step(cache, 300)
    rows = torch.from_numpy(rows_of(range(300)).view(np.int16)).view(torch.bfloat16)
    cache.write(0, swa=rows, rotated=True)
    check(cache)
    out = torch.zeros(1, WINDOW, LATENT, dtype=torch.bfloat16)
    assert cache.gather_window(0, out, queries=torch.tensor([299], dtype=torch.int32)) is out
    assert torch.equal(out[0], rows[300 - WINDOW :])
    pages = torch.from_dlpack(cache.pages(0, "window").bytes)
    assert pages.dtype == torch.uint8
    bound = cache.bind_write(0, swa=rows, rotated=True)
    bound()
    rows.resize_(30000, LATENT)
    with pytest.raises(tk.FailedPrecondition, match="resized"):
        bound()


def test_jax_arrays(cache: tk.Cache) -> None:
    jax = pytest.importorskip("jax")
    run_step(cache, 300)
    rows = jax.numpy.asarray(rows_of(range(300)))
    if rows.unsafe_buffer_pointer() % 16 == 0:
        cache.write(0, swa=rows, rotated=True)
        check(cache)
        as_bf16 = jax.lax.bitcast_convert_type(rows, jax.numpy.bfloat16)
        if as_bf16.unsafe_buffer_pointer() % 16 == 0:
            cache.write(0, swa=as_bf16, rotated=True)
            check(cache)
    with pytest.raises(tk.InvalidArgument, match="out"):
        cache.gather_window(0, jax.numpy.zeros((1, WINDOW, LATENT), jax.numpy.uint16), queries=LAST)


def test_cupy_arrays_lie_elsewhere(cache: tk.Cache) -> None:
    cupy = pytest.importorskip("cupy")
    run_step(cache, 300)
    try:
        rows = cupy.asarray(rows_of(range(300)))
    except cupy.cuda.runtime.CUDARuntimeError:
        pytest.skip("no GPU")
    with pytest.raises(tk.InvalidArgument, match="lies on cuda:0"):
        cache.write(0, swa=rows)
