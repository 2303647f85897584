"""Attributes and facts of hand-made plans: each is refused when the plan is opened, with its place."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs import plan_values
from graphs.errors import PlanError
from graphs.plan_json import PLAN_FILE, content_sum, load_plan
from runtime.sampling import discrete, edm, flow
from runtime.sampling.guiders import GUIDERS
from runtime.sampling.patches import PATCHES
from runtime.sampling.paths import KINDS
from runtime.store import Store
from tests.runtime.fake_backend import write_plan

Path_ = tuple[str | int, ...]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plans")
    write_plan(root / "plan", Store(root / "store"))
    return root / "plan"


def test_the_words_are_those_of_the_runtime() -> None:
    assert set(plan_values.SCHEDULES) == set(KINDS)
    assert set(plan_values.GUIDERS) == set(GUIDERS)
    assert set(plan_values.PATCHES) == set(PATCHES)
    assert set(plan_values.PREDICTIONS) == {*discrete.PREDICTIONS, *edm.PREDICTIONS, *flow.PREDICTIONS}


def changed(plan: Path, folder: Path, place: Path_, value: Any) -> Path:
    """The plan with one value of its document in place of another, and the sum made to fit."""
    document = json.loads((plan / PLAN_FILE).read_text("utf-8"))
    document.pop("sha256")
    at = document
    for key in place[:-1]:
        at = at[key]
    if value is GONE:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    folder.mkdir(exist_ok=True)
    for file in plan.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / PLAN_FILE).write_text(json.dumps({**document, "sha256": content_sum(document)}))
    return folder


GONE = object()


def attrs_of(plan: Path, op: str) -> Path_:
    steps = json.loads((plan / PLAN_FILE).read_text("utf-8"))["program"]["steps"]
    return ("program", "steps", next(n for n, step in enumerate(steps) if step["op"] == op), "attrs")


@pytest.mark.parametrize(
    ("op", "place", "value", "message"),
    [
        ("encode_text", ("text",), GONE, r"attrs\.text: damaged plan: expected a value, got none"),
        ("encode_text", ("text", "encoders"), [], "a list of at least 1"),
        ("encode_text", ("text", "encoders", 0, "width"), -8, "a whole number from 1"),
        ("encode_text", ("text", "encoders", 0, "width"), True, "a whole number from 1"),
        ("encode_text", ("text", "encoders", 0, "name"), "clip_z", r"attrs\.text\.pooled"),
        ("encode_text", ("text", "pooled"), "clip_g", r"attrs\.text\.pooled: damaged plan: expected clip_l"),
        ("guide", ("kind",), "magic", "basic or cfg"),
        ("guide", ("patches",), ["rescale_cfg", 3], r"attrs\.patches\[1\]"),
        ("guide", ("residuals",), [[320, 99]], r"attrs\.residuals\[0\]\[1\]"),
        ("entry", ("acting",), [[5, True]], "an index below 0"),
        ("decode_latent", ("latent", "downscale"), 0, "a whole number from 1"),
        ("decode_latent", ("latent", "scale"), "1", "a number from"),
    ],
)
def test_attributes_are_checked(
    plan: Path, tmp_path: Path, op: str, place: Path_, value: Any, message: str
) -> None:
    with pytest.raises(PlanError, match=message) as raised:
        load_plan(changed(plan, tmp_path / "x", (*attrs_of(plan, op), *place), value))
    assert f".{op}, attrs" in str(raised.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schedule",), None, r"facts\.schedule\.kind: damaged plan: expected scaled_linear or"),
        (("schedule", "kind"), ["flow"], r"facts\.schedule\.kind"),
        (("schedule", "kind"), "flow", r"facts\.schedule\.shift: damaged plan: expected a value, got none"),
        (("schedule", "timesteps"), 10**12, "a whole number from 1 to 100000"),
        (("schedule", "beta_start"), float("nan"), "a number from 0 to 1"),
        (("prediction",), "future", "eps or v"),
        (("latent", "channels"), 4.5, "a whole number from 1"),
        (("vector",), {"numbers": ["age"], "width": 256}, r"facts\.vector\.numbers\[0\]"),
    ],
)
def test_facts_are_checked(plan: Path, tmp_path: Path, place: Path_, value: Any, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        load_plan(changed(plan, tmp_path / "x", ("program", "models", "model", "facts", *place), value))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_them_gives_a_plan_or_one_error(plan: Path, tmp_path: Path, data: st.DataObject) -> None:
    document = json.loads((plan / PLAN_FILE).read_text("utf-8"))
    roots: list[Path_] = [("program", "models", "model", "facts")]
    roots += [("program", "steps", n, "attrs") for n, step in enumerate(document["program"]["steps"]) if step["attrs"]]
    place, at = data.draw(st.sampled_from(roots)), copy.deepcopy(document)
    for key in place:
        at = at[key]
    while isinstance(at, dict | list) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else list(range(len(at)))))
        place, at = (*place, key), at[key]
        if data.draw(st.booleans()):
            break
    with contextlib.suppress(PlanError):  # any other error fails the test
        load_plan(changed(plan, tmp_path / "x", place, data.draw(ANYTHING)))
