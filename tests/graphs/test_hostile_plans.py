"""plan.json as somebody else may have written it, sum and all: it opens, or one error says what is wrong."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphs.errors import PlanError
from graphs.plan_json import PLAN_FILE, content_sum, load_plan, save_plan
from tests.graphs.test_plan_json import PLAN, constants

Json = Any
VALUES: tuple[Json, ...] = (
    None, True, -1, 0, 1.5, "", [], {}, "x", [1], {"a": 1}, 10**30, float("inf"), [[]], {"ref": 3}, {"value": None}
)  # fmt: skip


def places(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def test_a_changed_place_is_an_error_or_harmless(tmp_path: Path) -> None:
    save_plan(PLAN, constants("e"), tmp_path)
    whole = json.loads((tmp_path / PLAN_FILE).read_text())
    del whole["sha256"]
    everywhere, chance, refused = list(places(whole)), random.Random(1), 0
    for _ in range(800):
        document = copy.deepcopy(whole)
        *way, last = chance.choice(everywhere)
        inside = document
        for key in way:
            inside = inside[key]
        if chance.random() < 0.8:
            inside[last] = chance.choice(VALUES)
        else:
            del inside[last]
        (tmp_path / PLAN_FILE).write_text(json.dumps({**document, "sha256": content_sum(document)}))
        try:
            load_plan(tmp_path)
        except PlanError:
            refused += 1
    assert refused > 500
