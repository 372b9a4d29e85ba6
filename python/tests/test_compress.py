"""Entries that the store makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import bf16

import terrace_kv as tk


@pytest.fixture
def cache() -> tk.Cache:
    model = tk.make_model(ratios=[4, 128], latent_format="bf16", state=True)
    limits = tk.Limits(max_sequences=2, max_step_tokens=512, max_context_tokens=2048)
    return tk.Cache(model, "96MiB", limits=limits, backend="host", host_threads=1)


def parts(tokens: int, width: int, ratio: int, channels: int) -> list[np.ndarray]:
    """kv, score, ape and norm weight."""
    rng = np.random.default_rng(width)
    return [
        rng.standard_normal((tokens, width), dtype=np.float32),
        rng.standard_normal((tokens, width), dtype=np.float32),
        rng.standard_normal((ratio, width), dtype=np.float32),
        np.ones(channels, dtype=np.float32),
    ]


def begin(cache: tk.Cache, tokens: int) -> None:
    sequence = cache.allocate_sequence([1] * tokens)
    cache.begin(cache.append(sequence.id, tokens))


def indexer(tokens: int) -> dict[str, Any]:
    names = ("indexer_kv", "indexer_score", "indexer_ape", "indexer_norm_weight")
    return dict(zip(names, parts(tokens, 256, 4, 128), strict=True))


def test_entries_are_pooled_and_normed(cache: tk.Cache) -> None:
    begin(cache, 256)
    cache.compress(0, *parts(256, 1024, 4, 512), **indexer(256), eps=1e-6)
    cache.compress(1, *parts(256, 512, 128, 512))
    last = np.array([255], dtype=np.int32)
    for layer, entries in ((0, 64), (1, 2)):
        rows = cache.gather_visible(layer, entries, queries=last)
        values = (rows.astype(np.uint32) << 16).view(np.float32)
        np.testing.assert_allclose(np.sqrt((values**2).mean(-1)), 1, rtol=0.02)


def test_a_bound_call_gives_the_same(cache: tk.Cache) -> None:
    begin(cache, 256)
    inputs = parts(256, 512, 128, 512)
    cache.compress(1, *inputs)
    last = np.array([255], dtype=np.int32)
    expected = cache.gather_visible(1, 2, queries=last)
    cache.write_slots(1, np.zeros((2, 512), np.uint16), np.arange(2, dtype=np.int32), rotated=True)
    bound = cache.bind_compress(1, *inputs, graph=True)
    bound()
    np.testing.assert_array_equal(cache.gather_visible(1, 2, queries=last), expected)


def test_bf16_inputs(cache: tk.Cache) -> None:
    begin(cache, 256)
    kv, score, ape, weight = parts(256, 512, 128, 512)
    cache.compress(1, bf16(kv), bf16(score), ape, bf16(weight))
    assert cache.gather_visible(1, 2, queries=np.array([255], dtype=np.int32)).any()


def test_bad_inputs_name_what_is_wrong(cache: tk.Cache) -> None:
    begin(cache, 256)
    kv, score, ape, weight = parts(256, 512, 128, 512)
    for arguments, message in (
        ((kv, bf16(score), ape, weight), "another type"),
        ((kv[:, :511], score, ape, weight), "511 columns, not 512"),
        ((kv[:100], score, ape, weight), "kv has 100 rows, the step 256"),
        ((kv, score, ape[:4], weight), "ape has 4 rows, not 128"),
        ((kv, score, ape.astype(np.float64), weight), "float32"),
        ((kv, score, ape, weight[:5]), "norm_weight has 5 weights, not 512"),
    ):
        with pytest.raises(tk.InvalidArgument, match=message):
            cache.compress(1, *arguments)
    with pytest.raises(tk.InvalidArgument, match="indexer"):
        cache.compress(0, *parts(256, 1024, 4, 512))
    with pytest.raises(tk.InvalidArgument, match="indexer_score is None"):
        cache.compress(0, *parts(256, 1024, 4, 512), indexer_kv=kv[:, :256])
