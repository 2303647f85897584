"""Values that a front end wrote for any schema are read back, and never shift without a word.

`written` is an independent writer: it lists the values of a schema's widgets as front ends of several ages do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.definition import NodeDef
from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.node import CONTROL_WORDS, Input
from graphs.schemas import Schemas
from graphs.workflow import parse_ui
from tests.graphs.ui_files import inputs_of, node, ui

Json = Any

CHOICES = (("euler", "heun", "lms"), ("2K", "4K"), ("auto", "1:1", "3:4"), ("fixed", "random"))


@dataclass(frozen=True)
class Stored:
    """A widget with the value that a file holds for it, and the values behind it that belong to no input."""

    input: Input
    value: Json
    behind: tuple[Json, ...] = ()


@st.composite
def widgets(draw: st.DrawFn, name: str) -> Stored:
    kind = draw(st.sampled_from(["INT", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMBO", "seed", "mode"]))
    if kind == "seed":
        input = Input(name, "INT", default=0, min=0, max=2**64 - 1, control_after_generate=True)
        return Stored(input, draw(st.integers(0, 2**50)), (draw(st.sampled_from(["fixed", "randomize"])),))
    if kind == "mode":
        return draw(_dynamic(name))
    options = draw(st.sampled_from(CHOICES)) if kind == "COMBO" else None
    default = {"INT": 3, "FLOAT": 0.5, "STRING": "-", "BOOLEAN": False, "COMBO": options[0] if options else None}[kind]
    bounds = {"INT": (0, 1000), "FLOAT": (0.0, 1000.0)}.get(kind, (None, None))
    input = Input(name, kind, default=default, min=bounds[0], max=bounds[1], options=options)
    values: dict[str, st.SearchStrategy[Json]] = {
        "INT": st.integers(0, 1000),
        "FLOAT": st.floats(0, 1000).filter(lambda f: not f.is_integer()),
        "STRING": st.sampled_from(["", "a cat", "fixed", "2K", "x.safetensors"]),
        "BOOLEAN": st.booleans(),
        "COMBO": st.sampled_from(options or ("",)),
    }
    return Stored(input, draw(values[kind]))


@st.composite
def _dynamic(draw: st.DrawFn, name: str) -> Stored:
    members = {"width": ["INT", {"default": 8}], "label": ["STRING", {"default": "l"}]}
    options = [{"key": "none", "inputs": {}}, {"key": "size", "inputs": {"required": members}}]
    input = Input(name, "COMFY_DYNAMICCOMBO_V3", extra={"options": options})
    if draw(st.booleans()):
        return Stored(input, "none")
    return Stored(input, "size", (draw(st.integers(0, 99)), draw(st.sampled_from(["", "m"]))))


@st.composite
def classes(draw: st.DrawFn) -> list[Stored]:
    return [draw(widgets(f"w{k}")) for k in range(draw(st.integers(1, 7)))]


def schemas_of(inputs: list[Input]) -> Schemas:
    return Schemas({}, {"A": NodeDef("A", tuple(inputs))})


def written(stored: list[Stored]) -> list[Json]:
    return [value for widget in stored for value in (widget.value, *widget.behind)]


def sent(stored: list[Stored]) -> dict[str, Json]:
    """What the API form holds."""
    found: dict[str, Json] = {}
    for widget in stored:
        found[widget.input.name] = widget.value
        if widget.input.type == "COMFY_DYNAMICCOMBO_V3" and widget.behind:
            found[f"{widget.input.name}.width"], found[f"{widget.input.name}.label"] = widget.behind
    return found


def read(schemas: Schemas, values: Json, **more: Json) -> Graph:
    return parse_ui(ui([node(1, "A", [], [], values, **more)], []), schemas)


@settings(max_examples=300, deadline=None)
@given(classes())
def test_what_was_written_is_read(stored: list[Stored]) -> None:
    graph = read(schemas_of([w.input for w in stored]), written(stored))
    assert inputs_of(graph)["1"] == sent(stored)
    assert graph.warnings == ()


@settings(max_examples=200, deadline=None)
@given(classes(), st.data())
def test_widgets_that_were_added_at_the_end_get_their_default(stored: list[Stored], data: st.DataObject) -> None:
    more = [data.draw(widgets(f"more{k}")).input for k in range(data.draw(st.integers(1, 3)))]
    graph = read(schemas_of([*(w.input for w in stored), *more]), written(stored))
    found = inputs_of(graph)["1"]
    assert {name: found[name] for name in sent(stored)} == sent(stored)
    for input in more:
        expected = "none" if input.type == "COMFY_DYNAMICCOMBO_V3" else input.default
        assert found[input.name] == expected


@settings(max_examples=200, deadline=None)
@given(classes(), st.data())
def test_a_widget_that_was_added_anywhere_shifts_nothing_in_silence(stored: list[Stored], data: st.DataObject) -> None:
    new = data.draw(widgets("new")).input
    inputs = [w.input for w in stored]
    inputs.insert(data.draw(st.integers(0, len(inputs))), new)
    try:
        graph = read(schemas_of(inputs), written(stored))
    except WorkflowError:
        return  # said, too
    found = inputs_of(graph)["1"]
    if {name: found.get(name) for name in sent(stored)} != sent(stored):
        assert graph.warnings  # at the least that a widget had no value


SEED = Stored(Input("seed", "INT", default=0, min=0, max=2**64 - 1, control_after_generate=True), 0, ("fixed",))
WORDS = ("random", "fixed", "increment", "randomize")


@st.composite
def classes_of_words(draw: st.DrawFn) -> list[Stored]:
    """A seed, combos whose choices are control words (no default is), and others."""
    found: list[Stored] = []
    others = draw(st.permutations(["INT", "BOOLEAN", "sizes"]))
    for k in range(draw(st.integers(1, 5))):
        name, kind = f"w{k}", draw(st.sampled_from(["seed", "words", "words", "other"]))
        if kind == "seed" and not any(w.input.control_after_generate for w in found):
            control = (draw(st.sampled_from(["fixed", "randomize", "increment"])),)
            found.append(Stored(replace(SEED.input, name=name), draw(st.integers(0, 9)), control))
        elif kind == "words":
            options = ("random", *draw(st.permutations(WORDS[1:]))[:2])
            input = Input(name, "COMBO", default="random", options=options)
            found.append(Stored(input, draw(st.sampled_from(options))))
        elif others:
            kind = others.pop()
            input, values = {
                "INT": (Input(name, "INT", default=3, min=0, max=9), st.integers(0, 9)),
                "BOOLEAN": (Input(name, "BOOLEAN", default=False), st.booleans()),
                "sizes": (Input(name, "COMBO", default="2K", options=("2K", "4K")), st.sampled_from(["2K", "4K"])),
            }[kind]
            found.append(Stored(input, draw(values)))
    return found


def words_in(values: dict[str, Json]) -> list[str]:
    return sorted(v for v in values.values() if isinstance(v, str) and v in CONTROL_WORDS)


@settings(max_examples=400, deadline=None)
@given(classes_of_words(), st.data())
def test_control_words_in_an_older_file_are_told_apart_or_refused(stored: list[Stored], data: st.DataObject) -> None:
    """The class gained a seed or a combo of words: a control that became a value, or a value a control, is said."""
    words = Stored(Input("new", "COMBO", default="random", options=WORDS), "random")
    has_seed = any(w.input.control_after_generate for w in stored)
    new = (
        words if has_seed else data.draw(st.sampled_from([words, replace(SEED, input=replace(SEED.input, name="new"))]))
    )
    inputs = [w.input for w in stored]
    inputs.insert(data.draw(st.integers(0, len(inputs))), new.input)
    try:
        graph = read(schemas_of(inputs), written(stored))
    except WorkflowError:
        return
    if words_in(inputs_of(graph)["1"]) != words_in(sent(stored)):
        assert [w for w in graph.warnings if w.severity != "info"]


@settings(max_examples=200, deadline=None)
@given(classes(), st.data())
def test_names_in_the_file_settle_what_the_list_does_not(stored: list[Stored], data: st.DataObject) -> None:
    """The class lost a widget: where the list alone no longer fits, the file's own names do."""
    inputs = [w.input for w in stored]
    lost = inputs.pop(data.draw(st.integers(0, len(inputs) - 1)))
    graph = read(schemas_of(inputs), written(stored), widgets_values_named=sent(stored))
    expected = {k: v for k, v in sent(stored).items() if k.partition(".")[0] != lost.name}
    if inputs_of(graph)["1"] != expected:
        assert graph.warnings


@settings(max_examples=200, deadline=None)
@given(classes())
def test_control_words_never_become_values(stored: list[Stored]) -> None:
    """Whatever else a file lacks, "fixed" right behind a seed is no value of the next widget."""
    inputs = [w.input for w in stored]
    for keep in range(1, len(stored) + 1):
        try:
            graph = read(schemas_of(inputs), written(stored[:keep]))
        except WorkflowError:
            continue
        found = inputs_of(graph)["1"]
        for widget in stored[:keep]:
            if widget.input.control_after_generate:
                assert found[widget.input.name] == widget.value
