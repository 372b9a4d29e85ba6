"""The scheduler's calls."""

from __future__ import annotations

import json

import numpy as np
import pytest

import terrace_kv as tk

PROMPT = np.arange(1000, dtype=np.int32)


@pytest.fixture
def scheduler(model: tk.ModelSpec, limits: tk.Limits) -> tk.Ledger:
    capacity = tk.plan_capacity(model, "96MiB", limits=limits)
    return tk.Ledger(capacity, prefix=tk.PrefixOptions(record_events=True))


def serve(ledger: tk.Ledger, prompt: np.ndarray, salt: bytes | str = b"") -> int:
    sequence = ledger.allocate_sequence(prompt, salt=salt)
    ledger.append(sequence.id, len(prompt) - sequence.length)
    return sequence.id


def test_one_sequence_from_birth_to_end(ledger: tk.Ledger) -> None:
    sequence = ledger.allocate_sequence(PROMPT)
    assert sequence.length == 0
    assert sequence.match.matched == 0
    plan = ledger.append(sequence.id, 1000)
    assert plan.number == 1 == ledger.last_plan()
    ledger.commit(sequence.id, [42])
    info = ledger.info(sequence.id)
    assert (info.length, info.known, info.settled) == (1000, 1001, 1000)
    assert info.index == tk.sequence_index(sequence.id)
    assert ledger.num_sequences() == 1
    ledger.free_sequence(sequence.id)
    assert ledger.num_sequences() == 0
    ledger.check_invariants()


def test_prompts_in_every_form(ledger: tk.Ledger) -> None:
    forms: list[object] = [
        PROMPT,
        PROMPT.astype(np.int64),
        PROMPT.tolist(),
        tuple(PROMPT.tolist()),
        range(1000),
        PROMPT.astype(np.uint16),
        np.repeat(PROMPT, 2)[::2],
    ]
    first = serve(ledger, PROMPT)
    for form in forms:
        assert ledger.probe(form).matched == 768  # type: ignore[arg-type]
    ledger.free_sequence(first)


def test_a_batch_of_arrays(ledger: tk.Ledger) -> None:
    ids = np.array([ledger.allocate_sequence([i] * 10).id for i in range(4)], dtype=np.uint64)
    plan = ledger.append(ids, 10)
    assert plan.num_token_rows == 40
    ledger.commit(ids, np.arange(4))
    plan = ledger.append(ids.astype(np.int64), [1, 2, 3, 4], np.array([0, 1, 2, 3]))
    assert plan.sequences["count"].tolist() == [1, 2, 3, 4]
    assert plan.sequences["drafts"].tolist() == [0, 1, 2, 3]
    infos = ledger.info(ids)
    assert infos.dtype == tk.SEQUENCE_INFO
    assert infos["length"].tolist() == [11, 12, 13, 14]
    assert infos["undecided_drafts"].tolist() == [0, 1, 2, 3]
    # One draft of each is accepted, where there is one.
    lengths = np.array([11, 12, 12, 12])
    ledger.truncate(ids, lengths)
    ledger.commit(ids, [1, 2, 3, 4, 5, 6, 7], counts=[1, 2, 2, 2])
    assert ledger.info(ids)["known"].tolist() == [12, 13, 13, 13]
    ledger.free_sequence(ids)
    assert ledger.num_sequences() == 0


def test_batches_are_all_or_nothing(ledger: tk.Ledger) -> None:
    a = ledger.allocate_sequence([1]).id
    b = ledger.allocate_sequence([1]).id
    ledger.free_sequence(b)
    with pytest.raises(tk.NotFound):
        ledger.commit([a, b], [5, 6])
    with pytest.raises(tk.NotFound):
        ledger.free_sequence([a, b])
    with pytest.raises(tk.InvalidArgument, match="twice"):
        ledger.free_sequence([a, a])
    with pytest.raises(tk.InvalidArgument, match="2 ids for counts of 3"):
        ledger.commit([a], [5, 6], counts=[3])
    with pytest.raises(tk.InvalidArgument, match="max_context_tokens"):
        ledger.commit([a], np.zeros(9000, dtype=np.int32), counts=[9000])
    assert ledger.info(a).known == 1
    ledger.append(a, 1)
    with pytest.raises(tk.InvalidArgument):
        ledger.truncate([a], [0])


def test_ids_run_one_ahead_unless_they_may(ledger: tk.Ledger) -> None:
    a = serve(ledger, PROMPT)
    with pytest.raises(tk.FailedPrecondition):
        ledger.commit(a, [1, 2])
    with pytest.raises(tk.FailedPrecondition, match=r"ids\[0\]"):
        ledger.commit([a], [1, 2], counts=[2])
    assert ledger.info(a).known == 1000
    b = ledger.allocate_sequence([1], ids_ahead=True).id
    ledger.commit(b, [2, 3, 4])
    assert ledger.info(b).known == 4


def test_pictures_and_marks(ledger: tk.Ledger) -> None:
    picture = [(300, 400, b"hash of a picture")]
    first = ledger.allocate_sequence(PROMPT, key_ranges=picture, marks=[512])
    ledger.append(first.id, 1000)
    assert ledger.probe(PROMPT, key_ranges=picture).matched == 768
    assert ledger.probe(PROMPT, key_ranges=[(300, 400, "another")]).matched == 256
    assert ledger.probe(PROMPT, key_ranges=[(300, None, b"x")]).matched == 256
    assert ledger.probe(PROMPT).matched == 256
    digests = tk.chunk_digests(PROMPT, key_ranges=picture)
    assert ledger.probe(PROMPT, key_ranges=picture, digests=digests).matched == 768
    for wrong in (7, [(1, 2)], [(1, 2, 3)], [("a", 2, b"")]):
        with pytest.raises(tk.InvalidArgument):
            ledger.probe(PROMPT, key_ranges=wrong)  # type: ignore[arg-type]


def test_returns_are_counted_apart(ledger: tk.Ledger) -> None:
    serve(ledger, PROMPT)
    again = ledger.allocate_sequence(PROMPT, returning=True)
    ledger.append(again.id, 1000 - again.length)
    figures = ledger.prefix_figures()
    assert (figures.returns, figures.return_hits) == (1, 1)
    assert figures.prompt_tokens == 1000 == figures.return_prompt_tokens


def test_epochs_differ_by_themselves(model: tk.ModelSpec, limits: tk.Limits) -> None:
    capacity = tk.plan_capacity(model, "96MiB", limits=limits)
    a, b = tk.Ledger(capacity), tk.Ledger(capacity)
    assert a.epoch() != b.epoch()
    assert tk.Ledger(capacity, epoch=7).epoch() == 7
    assert a.generation() == 1


def test_drafts_are_decided_before_the_next_step(ledger: tk.Ledger) -> None:
    sequence = serve(ledger, PROMPT)
    ledger.commit(sequence, [1])
    ledger.append(sequence, 5, 4)
    with pytest.raises(tk.FailedPrecondition):
        ledger.append(sequence)
    ledger.truncate(sequence, 1002)
    ledger.commit(sequence, [7, 8])
    assert ledger.append(sequence).sequences["first"].tolist() == [1002]


def test_forks_share_blocks(ledger: tk.Ledger) -> None:
    sequence = serve(ledger, PROMPT)
    fork = ledger.fork(sequence)
    assert fork != sequence
    assert ledger.info(fork).length == 1000
    ledger.commit([sequence, fork], [1, 2])
    plan = ledger.append([sequence, fork])
    assert len(plan.copies) > 0
    assert plan.copies.dtype == tk.BLOCK_COPY
    assert ledger.prefix_figures().forks == 1
    ledger.check_invariants()


def test_prefixes_are_found_under_their_salt_alone(scheduler: tk.Ledger) -> None:
    serve(scheduler, PROMPT, salt="tenant a")
    assert scheduler.probe(PROMPT, salt=b"tenant a").matched == 768
    assert scheduler.probe(PROMPT, salt="tenant b").matched == 0
    digests = tk.chunk_digests(PROMPT, salt="tenant a")
    assert digests.dtype == tk.CHUNK_DIGEST
    assert len(digests) == 3
    assert scheduler.probe(PROMPT, salt="tenant a", digests=digests).matched == 768
    with pytest.raises(tk.InvalidArgument):
        scheduler.probe(PROMPT, salt="tenant a", digests=digests[:1])
    with pytest.raises(tk.InvalidArgument, match="CHUNK_DIGEST"):
        scheduler.probe(PROMPT, digests=np.zeros(3))  # type: ignore[arg-type]
    events = scheduler.take_events()
    assert events.dtype == tk.PREFIX_EVENT
    stored = events[events["kind"] == tk.PREFIX_EVENT_KINDS.index("chunk_stored")]
    assert stored["digest"].tolist() == digests.tolist()
    assert stored["parent"][0].tolist() == tk.root_digest("tenant a").tolist()
    assert stored["depth"].tolist() == [1, 2, 3]
    assert len(scheduler.take_events()) == 0


def test_matches_go_on_while_a_prompt_is_fed(ledger: tk.Ledger) -> None:
    late = ledger.allocate_sequence(PROMPT)
    serve(ledger, PROMPT)
    match = ledger.extend_match(late.id)
    assert match.matched == 768
    assert match.saved == match.matched - match.refed
    assert match == ledger.probe(PROMPT) or match.matched == 768
    assert ledger.info(late.id).length == match.resumed + match.skipped


def test_refeed_limits_and_time_to_live(ledger: tk.Ledger) -> None:
    sequence = ledger.allocate_sequence(
        PROMPT, priority="high", time_to_live_ms=1000, max_refeed_tokens=0, approximate_tokens=0
    )
    ledger.append(sequence.id, 1000)
    ledger.free_sequence(sequence.id)
    assert ledger.probe(PROMPT, max_refeed_tokens=0).matched == 768
    ledger.set_time(2000)
    assert ledger.probe(PROMPT).matched == 0
    assert ledger.prefix_figures().expired_chunks == 3
    with pytest.raises(tk.InvalidArgument):
        ledger.set_time(1000)
    with pytest.raises(tk.InvalidArgument, match='"low", "normal", "high"'):
        ledger.allocate_sequence(priority="urgent")  # type: ignore[arg-type]


def test_lost_plans_are_abandoned(ledger: tk.Ledger) -> None:
    sequence = serve(ledger, PROMPT)
    back = ledger.abandon(1)
    assert back.dtype == tk.ADMISSION
    assert back["id"].tolist() == [sequence]
    assert back["length"].tolist() == [0]
    assert ledger.probe(PROMPT).matched == 0
    assert ledger.snapshot().generation == 2
    with pytest.raises(tk.InvalidArgument):
        ledger.abandon(7)


def test_wrong_rows_are_distrusted(ledger: tk.Ledger) -> None:
    sequence = serve(ledger, PROMPT)
    other = serve(ledger, PROMPT + 5000)
    back = ledger.distrust([sequence], 300)
    assert back["id"].tolist() == [sequence]
    assert ledger.probe(PROMPT).matched <= 256
    assert ledger.info(other).length == 1000
    with pytest.raises(tk.InvalidArgument):
        ledger.distrust([other], [2000])


def test_clearing_prefixes(ledger: tk.Ledger) -> None:
    serve(ledger, PROMPT)
    ledger.clear_prefixes()
    assert ledger.probe(PROMPT).matched == 0


def test_figures_as_text(ledger: tk.Ledger) -> None:
    serve(ledger, PROMPT)
    figures = ledger.prefix_figures()
    assert figures.stored_chunks == 3
    assert figures.saved_tokens == figures.matched_tokens - figures.refed_tokens
    assert json.loads(figures.to_json())["stored_chunks"] == 3
    assert "terrace_prefix_stored_chunks_total 3" in figures.to_prometheus()
    assert "chunks" in figures.to_table()
    assert len(figures.evicted_blocks) == len(figures.copied_blocks) == tk.MAX_POOLS


def test_matching_waits_for_retire(model: tk.ModelSpec, limits: tk.Limits) -> None:
    capacity = tk.plan_capacity(model, "96MiB", limits=limits)
    ledger = tk.Ledger(capacity, prefix=tk.PrefixOptions(match="retired"))
    serve(ledger, PROMPT)
    assert ledger.probe(PROMPT).matched == 0
    ledger.retire(1)
    assert ledger.probe(PROMPT).matched == 768
    with pytest.raises(tk.InvalidArgument):
        ledger.retire(1)


def test_prefix_options() -> None:
    assert tk.PrefixOptions().checkpoints == "end"
    assert tk.PrefixOptions(checkpoints=512).checkpoints == 512
    assert tk.PrefixOptions(checkpoints="none").checkpoints == "none"
    assert tk.PrefixOptions(match="retired").match == "retired"
    assert not tk.PrefixOptions(enabled=False).enabled
    with pytest.raises(tk.InvalidArgument, match="checkpoints"):
        tk.PrefixOptions(checkpoints="all")  # type: ignore[arg-type]


def test_a_ledger_of_a_geometry_has_pools_without_names(
    model: tk.ModelSpec, limits: tk.Limits
) -> None:
    geometry = tk.plan_capacity(model, "96MiB", limits=limits).geometry
    ledger = tk.Ledger(geometry, epoch=9)
    assert ledger.geometry.fingerprint == geometry.fingerprint
    assert ledger.use(0).capacity == geometry.pools[0].capacity_blocks
    assert ledger.snapshot().epoch == 9
    with pytest.raises(tk.InvalidArgument):
        tk.Ledger(model)  # type: ignore[arg-type]


def test_uses_of_all_pools(ledger: tk.Ledger) -> None:
    serve(ledger, PROMPT)
    uses = ledger.use()
    assert uses.dtype == tk.POOL_USE
    for use in uses:
        assert use["capacity"] == use["free"] + use["live"] + use["cached"] + use["draining"]
    assert "live=" in repr(ledger.use("csa"))
