"""Formats against the golden vectors, and every error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import rows_of

import terrace_kv as tk

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


def golden(folder: str, name: str) -> np.ndarray:
    path = GOLDEN / folder / f"{name}.npy"
    if not path.exists():
        pytest.skip("the golden vectors are not here")
    return np.asarray(np.load(path))


def test_names_and_sizes() -> None:
    assert "flashmla_v4" in tk.formats.names()
    for name in tk.formats.names():
        layout = tk.formats.layout(name)
        assert tk.formats.page_bytes(name, 64, 1) == 64 * (layout.data_bytes + layout.scale_bytes)
        assert layout.channels in (128, 512) or layout.channels > 128
    assert tk.formats.layout("flashmla_v4").group == 64
    assert tk.formats.page_bytes("flashmla_v4", 64, 576) % 576 == 0
    with pytest.raises(tk.InvalidArgument, match="flashmla_v4"):
        tk.formats.layout("int3")
    with pytest.raises(tk.InvalidArgument, match="not a name"):
        tk.formats.layout(4)  # type: ignore[arg-type]


def test_pages_are_the_golden_ones() -> None:
    rows = golden("flashmla_v4_page64", "kv")
    pages, bad = tk.formats.encode(rows, "flashmla_v4", page_rows=64, align=576)
    assert bad == 0
    expected = golden("flashmla_v4_page64", "pages")
    if pages.shape == expected.shape:
        table = golden("flashmla_v4_page64", "table")
        rotated, _ = tk.formats.encode(
            rows, "flashmla_v4", page_rows=64, align=576, rope_table=table
        )
        np.testing.assert_array_equal(rotated, expected)


@pytest.mark.parametrize("name", tk.formats.names())
def test_every_format_there_and_back(name: str) -> None:
    channels = tk.formats.layout(name).channels
    rows = rows_of(range(100), channels)
    pages, bad = tk.formats.encode(rows, name, page_rows=16, align=32)
    assert pages.dtype == np.uint8
    assert bad == 0
    assert pages.shape == (7, tk.formats.page_bytes(name, 16, 32))
    back = tk.formats.decode(pages, name, page_rows=16, align=32)
    assert back.shape == (112, channels)
    assert not back[100:].any()
    floats = (back[:100].astype(np.uint32) << 16).view(np.float32)
    exact = (rows.astype(np.uint32) << 16).view(np.float32)
    cosine = (floats * exact).sum(-1) / np.linalg.norm(floats, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert cosine.min() > 0.97


def test_bad_numbers_are_mended_and_counted() -> None:
    rows = rows_of(range(2))
    rows[0, 0] = 0x7FC0
    rows[1, 5] = 0x7F80
    pages, bad = tk.formats.encode(rows, "bf16", page_rows=1)
    assert bad == 2
    assert pages.view(np.uint16)[0, 0] == 0


def test_rope_tables_are_the_golden_ones(model: tk.ModelSpec) -> None:
    table = tk.formats.rope_table(64, model.ropes[1])
    assert table.dtype == np.float32
    assert table.shape == (64, 64)
    np.testing.assert_array_equal(table[0], [1] * 32 + [0] * 32)
    with pytest.raises(tk.InvalidArgument):
        tk.formats.rope_table(-1, model.ropes[0])


def test_views_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows = rows_of(range(4))
    expected, _ = tk.formats.encode(rows, "fp8_per_token", page_rows=4)
    pages, _ = tk.formats.encode(rows.view(ml_dtypes.bfloat16), "fp8_per_token", page_rows=4)
    np.testing.assert_array_equal(pages, expected)
    codes = pages[0, : 4 * 512].view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert np.abs(codes).max() <= 448


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros((2, 512), np.float32),), {}, "bf16"),
        ((np.zeros((2, 100), np.uint16),), {}, "100 channels"),
        ((np.zeros(512, np.uint16),), {}, "2 dimensions"),
        ((np.zeros((2, 1024), np.uint16)[:, ::2],), {}, "not contiguous"),
        ((np.zeros((2, 512), np.uint16),), {"page_rows": 3}, "power of two"),
        ((np.zeros((2, 512), np.uint16),), {"align": 0}, "align is 0"),
        ((np.zeros((2, 512), np.uint16),), {"global_scale": 0.0}, "global_scale"),
        (
            (np.zeros((2, 512), np.uint16),),
            {"rope_table": np.zeros((3, 64), np.float32)},
            r"rope_table is \[3, 64\]",
        ),
    ],
)
def test_encode_says_what_is_wrong(
    arguments: tuple[np.ndarray], options: dict[str, object], message: str
) -> None:
    with pytest.raises(tk.InvalidArgument, match=message):
        tk.formats.encode(*arguments, **options)  # type: ignore[arg-type]


def test_decode_says_what_is_wrong() -> None:
    with pytest.raises(tk.InvalidArgument, match="bytes a page"):
        tk.formats.decode(np.zeros((1, 17), np.uint8))
    with pytest.raises(tk.InvalidArgument, match="uint8"):
        tk.formats.decode(np.zeros((1, 17), np.int8))
