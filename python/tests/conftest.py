"""A small deployment on the host backend, which every test can run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

import terrace_kv as tk

LATENT = 512
KEY = 128
WINDOW = 128


@pytest.fixture(scope="session")
def model() -> tk.ModelSpec:
    """Three layers: a window alone, CSA with indexer keys, HCA; rows are stored as bf16."""
    return tk.make_model(name="three layers", ratios=[0, 4, 128], latent_format="bf16")


@pytest.fixture(scope="session")
def limits() -> tk.Limits:
    return tk.Limits(
        max_sequences=8,
        max_step_tokens=1024,
        max_drafts=4,
        max_context_tokens=8192,
        store_whole_chunk=True,  # so that a window reads all of a prefill piece
    )


@pytest.fixture
def make_cache(model: tk.ModelSpec, limits: tk.Limits) -> Callable[..., tk.Cache]:
    def make(memory: int | str = "96MiB", **options: object) -> tk.Cache:
        arguments: dict[str, object] = {
            "limits": limits,
            "backend": "host",
            "host_threads": 1,
            **options,
        }
        return tk.Cache(model, memory, **arguments)  # type: ignore[arg-type]

    return make


@pytest.fixture
def cache(make_cache: Callable[..., tk.Cache]) -> tk.Cache:
    return make_cache()


@pytest.fixture
def ledger(model: tk.ModelSpec, limits: tk.Limits) -> tk.Ledger:
    return tk.Ledger(tk.plan_capacity(model, "96MiB", limits=limits))


def bf16(values: npt.ArrayLike) -> npt.NDArray[np.uint16]:
    """The bits of bf16, of numbers that it holds exactly."""
    return (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def rows_of(numbers: npt.NDArray[np.int64] | range, channels: int = LATENT) -> npt.NDArray[np.uint16]:
    """A row for each number, every row another one: small powers of two, exact in bf16."""
    n = np.asarray(numbers, dtype=np.int64)
    channel = np.arange(channels, dtype=np.int64)
    exponent = (n[:, None] * 7 + channel[None, :] * 3) % 13 - 6
    return bf16(np.exp2(exponent.astype(np.float32)))


def run_step(cache: tk.Cache, tokens: int, prompt_id: int = 7) -> int:
    """One sequence of `tokens` tokens whose step is begun. Gives its handle."""
    sequence = cache.allocate_sequence(np.full(tokens, prompt_id, dtype=np.int32))
    cache.begin(cache.append(sequence.id, tokens))
    return sequence.id
