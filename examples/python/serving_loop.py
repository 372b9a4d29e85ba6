"""Continuous batching from Python: prompts in pieces, prefix reuse, preemption, all rows checked.

    python examples/python/serving_loop.py

Runs on the host backend with NumPy alone. A row's content is a hash of its request and position, so
that whatever is read back can be compared.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

import terrace_kv as tk

CHANNELS = 512
PIECE = 256  # most tokens of a prompt in one step


@dataclass
class Request:
    """A prompt, how many ids to sample, and what is known of the answer."""

    prompt: list[int]
    output: int
    ids: list[int] = field(default_factory=list)


@dataclass
class Running:
    """A request that has a sequence."""

    request: Request
    sequence: int
    fed: int


def rows_of(ids: list[int], first: int, count: int) -> npt.NDArray[np.uint16]:
    """bf16 rows of the tokens from `first` on: powers of two, of the ids and positions."""
    position = np.arange(first, first + count)
    token = np.asarray(ids[first : first + count])
    channel = np.arange(CHANNELS)
    exponent = (token[:, None] * 5 + position[:, None] * 3 + channel) % 9 - 4
    bits = np.exp2(exponent.astype(np.float32)).view(np.uint32) >> 16
    return bits.astype(np.uint16)


class Engine:
    """A scheduler and a worker in one process, over one cache."""

    def __init__(self, cache: tk.Cache) -> None:
        self.cache = cache
        self.waiting: deque[Request] = deque()
        self.running: list[Running] = []
        self.preemptions = 0
        self.checked_rows = 0

    def admit(self) -> None:
        """Takes waiting requests in while there are sequence indices."""
        while self.waiting:
            request = self.waiting[0]
            try:
                sequence = self.cache.allocate_sequence(request.ids)
            except tk.ResourceExhausted:
                return
            self.waiting.popleft()
            self.running.append(Running(request, sequence.id, sequence.length))

    def schedule(self) -> tuple[tk.Plan, list[int]]:
        """The next step's plan, and how many tokens of each running sequence are in it."""
        while True:
            counts = [min(PIECE, len(r.request.ids) - r.fed) for r in self.running]
            try:
                return self.cache.append([r.sequence for r in self.running], counts), counts
            except tk.OutOfBlocks:
                if len(self.running) == 1:
                    raise
                # The newest gives its blocks back, and is fed again later: recomputation.
                victim = self.running.pop()
                self.cache.free_sequence(victim.sequence)
                self.waiting.appendleft(victim.request)
                self.preemptions += 1

    def work(self, plan: tk.Plan, counts: list[int]) -> None:
        """Writes the step's rows, and reads back what the last token of each sequence sees."""
        self.cache.begin(plan)
        rows = [rows_of(r.request.ids, r.fed, n) for r, n in zip(self.running, counts, strict=True)]
        self.cache.write(0, swa=np.concatenate(rows), rotated=True)
        last = (np.cumsum(counts) - 1).astype(np.int32)
        windows = self.cache.gather_window(0, queries=last)
        for running, count, window in zip(self.running, counts, windows, strict=True):
            end = running.fed + count
            expected = rows_of(running.request.ids, max(0, end - 128), min(128, end))
            np.testing.assert_array_equal(window[: len(expected)], expected)
            self.checked_rows += len(expected)

    def finish(self, counts: list[int]) -> None:
        """Samples where a prompt is done, gives the ids to the ledger, frees what is finished."""
        sampled: list[Running] = []
        for running, count in zip(self.running, counts, strict=True):
            running.fed += count
            if running.fed == len(running.request.ids):
                running.request.ids.append((running.request.ids[-1] * 7 + running.fed) % 5000)
                sampled.append(running)
        if sampled:
            self.cache.commit([r.sequence for r in sampled], [r.request.ids[-1] for r in sampled])
        for running in sampled:
            if len(running.request.ids) - len(running.request.prompt) >= running.request.output:
                self.cache.free_sequence(running.sequence)
                self.running.remove(running)

    def serve(self, requests: list[Request]) -> None:
        """Serves all of them."""
        for request in requests:
            request.ids = list(request.prompt)
        self.waiting.extend(requests)
        while self.waiting or self.running:
            self.admit()
            plan, counts = self.schedule()
            self.work(plan, counts)
            self.finish(counts)


def main() -> None:
    model = tk.make_model(name="window and CSA", ratios=[0, 4], latent_format="bf16")
    limits = tk.Limits(
        max_sequences=8,
        max_step_tokens=8 * PIECE,
        max_context_tokens=4096,
        store_whole_chunk=True,  # the last token's window lies in the piece that was just written
    )
    cache = tk.Cache(model, "48MiB", limits=limits, backend="host")
    system = [1000 + i for i in range(512)]  # what all prompts begin with
    requests = [Request(system + [i] * (100 + 37 * i), 40) for i in range(16)]
    engine = Engine(cache)
    engine.serve(requests)
    figures = cache.prefix_figures()
    assert cache.num_sequences() == 0
    assert cache.read_counters().nonfinite_values == 0
    print(
        f"{len(requests)} requests, {engine.checked_rows} rows checked, "
        f"{engine.preemptions} preemptions, {figures.saved_tokens} tokens saved by reuse"
    )


if __name__ == "__main__":
    main()
