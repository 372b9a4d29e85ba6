"""Draws what a replay found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _rates(
    values: list[float], of: list[float], points: int = 128
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """How much `values` grew for each that `of` grew, over spans of the series."""
    at = np.unique(np.linspace(0, len(values) - 1, points).astype(np.intp))
    grown = np.diff(np.asarray(values, dtype=np.float64)[at])
    base = np.diff(np.asarray(of, dtype=np.float64)[at])
    with np.errstate(divide="ignore", invalid="ignore"):
        return at[1:], np.where(base > 0, grown / base, np.nan)


def plot(result: dict[str, Any], path: str | None = None) -> Figure:
    """Draws pool occupancy, hit rate and the ledger's latency over simulated time.

    Needs Matplotlib (``pip install terrace-kv[plot]``).

    Args:
        result: what ``replay`` returned.
        path: also saved there, as .svg, .png or .pdf, if it is given.

    Returns:
        The figure, of three axes: live blocks as a share of each pool; prompt tokens found cached
        as a share of all; nanoseconds in the ledger for a sequence's decode step and for a token of
        prefill.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    pools, hits, latency = figure.subplots(3, 1, sharex=True)
    occupancy, series = result["occupancy"], result["series"]
    for pool in result["pools"]:
        live = np.asarray(occupancy["live_blocks"][pool["name"]], dtype=np.float64)
        share = 100 * live / max(pool["capacity_blocks"], 1)
        pools.plot(occupancy["seconds"], share, label=pool["name"], linewidth=1)
    pools.set_ylabel("live blocks, %")
    pools.set_ylim(0, 105)
    pools.legend(loc="upper left", ncols=4, fontsize="small")
    pools.set_title(
        f"{result['model']}, {result['memory_bytes'] / 2**30:.3g} GiB: {result['completed']} of "
        f"{result['requests']} requests"
    )

    seconds = np.asarray(series["seconds"], dtype=np.float64)
    if len(seconds) > 1:
        at, rate = _rates(series["matched_tokens"], series["prompt_tokens"])
        hits.plot(seconds[at], 100 * np.clip(rate, 0, 1), linewidth=1, label="over each span")
        prompt = np.maximum(np.asarray(series["prompt_tokens"], dtype=np.float64), 1)
        matched = np.asarray(series["matched_tokens"], dtype=np.float64)
        hits.plot(seconds, 100 * np.clip(matched / prompt, 0, 1), linewidth=1, label="since the start")
        hits.legend(loc="upper left", fontsize="small")
        for label, spent, of in (
            ("decode, ns a sequence and step", "ledger_decode_ns", "decode_sequence_steps"),
            ("prefill, ns a token", "ledger_prefill_ns", "prefill_tokens"),
        ):
            at, each = _rates(series[spent], series[of])
            latency.plot(seconds[at], each, linewidth=1, label=label)
        latency.set_yscale("log")
        latency.legend(loc="upper left", fontsize="small")
    hits.set_ylabel("prompt tokens cached, %")
    hits.set_ylim(0, 105)
    latency.set_ylabel("time in the ledger, ns")
    latency.set_xlabel("simulated seconds")
    if path is not None:
        figure.savefig(path)
    return figure
