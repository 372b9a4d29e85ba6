"""Models and capacity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import terrace_kv as tk

HEADERS = Path(__file__).parents[2] / "include" / "terrace"


def test_named_models() -> None:
    flash = tk.deepseek_v4_flash()
    assert flash == tk.model("deepseek-v4-flash")
    assert flash != tk.deepseek_v4_pro()
    assert len(flash.layers) == 43
    assert [pool.name for pool in flash.pools][:3] == ["swa", "csa", "hca"]
    assert flash.pools[flash.window_pool()].kind == "window"
    assert flash.pools[flash.full_pool(2)].ratio in (4, 128)
    assert flash.full_pool(0) == -1
    assert flash.pools[flash.overlap_pool()].kind == "overlap"
    assert flash.pools[flash.state_pool(4)].kind == "state"
    assert flash.count_layers(flash.full_pool(2)) in (20, 21)
    assert flash.count_layers(flash.window_pool(), 0, 2) == 2
    with pytest.raises(tk.InvalidArgument, match="layer 43"):
        flash.full_pool(43)
    flash.validate()


def test_a_model_whose_layers_share_rows_in_pages() -> None:
    flash = tk.deepseek_v41_flash()
    assert flash == tk.model("deepseek-v4.1-flash")
    assert len(flash.layers) == 40
    made = tk.make_model(
        ratios=[0, 2, 2, 1, 1],
        kv_sources=[1, 3],
        latent_format="nvfp4_v41_il",
        window_format="mxfp8_v41_il",
        indexer_ratios=[1, 2],
        entries_per_page=64,
        block_aligns={"swa": 1056},
    )
    pools = {pool.name: pool for pool in made.pools}
    assert [layer.pools[-1].writes for layer in made.layers] == [True, True, False, True, False]
    assert pools["swa"].planes[0].format == "mxfp8_v41_il"
    assert pools["swa"].block_align == 1056
    assert pools["c1"].entries_per_page == 64
    assert len(pools["c1"].planes) == 2 == len(pools["c2"].planes)
    rotated = tk.make_model(ratios=[4], latent_format="nvfp4", rotate_nvfp4=True)
    assert rotated.pools[rotated.full_pool(0)].planes[0].rope_before_store
    plain = tk.make_model(ratios=[4], latent_format="nvfp4")
    assert not plain.pools[plain.full_pool(0)].planes[0].rope_before_store


def test_parts_of_a_model(model: tk.ModelSpec) -> None:
    csa = model.pools[model.full_pool(1)]
    assert (csa.kind, csa.rule, csa.layout, csa.entries_per_block) == (
        "full",
        "pooled",
        "block-major",
        64,
    )
    assert [plane.format for plane in csa.planes] == ["bf16", "indexer_fp8"]
    assert csa.planes[0].rope_before_store
    assert model.layers[1].rope == 1
    assert any(pool.writes for pool in model.layers[1].pools)
    assert model.ropes[0].base == 10000
    assert (model.name, model.window_tokens, model.chunk_tokens) == ("three layers", 128, 256)
    assert "three layers" in repr(model)


def test_json_round_trip(model: tk.ModelSpec) -> None:
    assert tk.ModelSpec.from_json(model.to_json()) == model
    short = tk.ModelSpec.from_json('{"ratios": [0, 4, 128]}')
    assert len(short.layers) == 3
    with pytest.raises(tk.InvalidArgument, match="unknown key"):
        tk.ModelSpec.from_json('{"ratios": [4], "heads": 8}')
    with pytest.raises(tk.InvalidArgument, match="no JSON"):
        tk.ModelSpec.from_json("{")


def test_capacity_is_exact(model: tk.ModelSpec, limits: tk.Limits) -> None:
    plan = tk.plan_capacity(model, "96MiB", limits=limits)
    assert plan.memory_bytes == 96 << 20
    pools = sum(pool.blocks * pool.block_bytes for pool in plan.pools)
    assert plan.table_bytes + pools + plan.unused_bytes == plan.memory_bytes
    assert all(pool.total_bytes == pool.blocks * pool.block_bytes for pool in plan.pools)
    assert plan.table_bytes == plan.geometry.table_bytes()
    assert plan.sequences_that_fit(4096) > 0
    assert plan.max_tokens % model.chunk_tokens == 0
    assert plan.model == model
    assert plan.limits.max_drafts == limits.max_drafts
    data = json.loads(plan.to_json())
    assert data["max_tokens"] == plan.max_tokens
    assert data["geometry_fingerprint"] == f"{plan.geometry.fingerprint:016x}"
    assert "csa" in plan.to_table()


def test_what_would_fit_more(model: tk.ModelSpec, limits: tk.Limits) -> None:
    fit = tk.fit_context(model, "96MiB", 4096, limits=limits)
    assert fit.context_tokens == 4096
    assert fit.bound in ("max_context_tokens", "max_sequences", "memory")
    assert fit.sequences == tk.plan_capacity(model, "96MiB", limits=limits).sequences_that_fit(4096)
    assert all(choice.sequences >= 0 and choice.setting for choice in fit.choices)
    assert tk.most_sequences(model, "96MiB", 4096, limits=limits) >= fit.sequences
    for choice in fit.choices:
        if choice.sequences == 0:
            continue
        plan = tk.plan_choice(choice, model, "96MiB", 4096, limits=limits)
        assert plan.limits.max_sequences == choice.sequences
        assert plan.sequences_that_fit(4096) >= choice.sequences


def test_workers_of_a_pipeline_share_the_memory(model: tk.ModelSpec, limits: tk.Limits) -> None:
    plan = tk.plan_capacity(model, "96MiB", limits=limits)
    store = tk.Store(model, plan.geometry, layers=range(1, 3), backend="host", host_threads=1)
    assert plan.worker_bytes(range(1, 3)) == store.memory_bytes()
    with pytest.raises(tk.InvalidArgument):
        plan.worker_bytes(range(1, 9))


def test_geometry(model: tk.ModelSpec, limits: tk.Limits) -> None:
    geometry = tk.plan_capacity(model, "96MiB", limits=limits).geometry
    assert geometry.num_pools == len(model.pools) == len(geometry.pools)
    csa = geometry.pools[model.full_pool(1)]
    assert csa.tokens_per_block == 256
    assert csa.blocks_per_sequence == 32
    assert geometry.max_entry_rows(model.full_pool(1)) >= 256
    assert geometry.max_step_plan_bytes() > 128
    assert geometry.store_whole_chunk == limits.store_whole_chunk
    with pytest.raises(tk.InvalidArgument):
        geometry.max_entry_rows(99)


def test_bytes() -> None:
    assert tk.parse_bytes("1.5GiB") == 3 << 29
    assert tk.format_bytes(40 << 30) == "40.0 GiB"
    with pytest.raises(tk.InvalidArgument):
        tk.parse_bytes("many")


def test_the_version_is_told_once() -> None:
    text = (HEADERS / "version.h").read_text()
    numbers = [
        text.split(f"define TERRACE_VERSION_{part} ")[1].split()[0]
        for part in ("MAJOR", "MINOR", "PATCH")
    ]
    assert tk.__version__ == ".".join(numbers)
