"""Plans of workflows that were run directly go with what they need, and with nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyc.plan_cache import PlanCache
from runtime.store import Store
from tests.runtime.fake_backend import default_prompt, write_plan


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path)


def test_a_plan_goes_when_an_engine_or_weights_of_it_are_gone(cache: PlanCache, tmp_path: Path) -> None:
    store, prompt = Store(tmp_path / "store"), default_prompt()
    prompt["6"]["inputs"]["text"] = 'a fox "engine-0123456789abcdef0123" on a hill'  # words of a prompt are no need
    write_plan(cache.path("a"), store, prompt=prompt)
    keys = {entry.key for entry in store.ls()}
    assert len(keys) == 6
    assert cache.prune(keys) == 0
    for gone in sorted(keys):
        write_plan(cache.path("a"), store, prompt=prompt)
        assert cache.prune(keys - {gone}) == 1, gone
        assert cache.ls() == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"bindings": 1}', '{"bindings": {"unet": {}}}', "[" * 100_000])
def test_what_is_no_plan_goes(cache: PlanCache, content: str) -> None:
    cache.path("a").mkdir(parents=True)
    (cache.path("a") / "plan.json").write_text(content)
    assert cache.prune({"engine-1"}) == 1


def test_all_go_where_nothing_is_kept(cache: PlanCache, tmp_path: Path) -> None:
    write_plan(cache.path("a"), Store(tmp_path / "store"))
    assert json.loads((cache.path("a") / "plan.json").read_text())["bindings"]
    assert cache.prune(None) == 1
