"""What the browser does to texts at queue time: dynamic prompts, %Node.widget%, %date:...%."""

from __future__ import annotations

import random
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.reading.dynamic_prompts import resolve
from graphs.reading.text_replacement import format_date
from graphs.workflow import ReadOptions, parse_ui
from tests.graphs.ui_files import SAMPLER_VALUES, node, text, ui

NOW = datetime(2026, 3, 7, 5, 4, 9)


@pytest.mark.parametrize(
    ("written", "becomes"),
    [
        ("a cat", "a cat"),
        (r"a \(cat\) and \{this\|that\}", r"a \(cat\) and {this|that}"),
        ("a {red} cat", "a red cat"),
        ("a cat // a note\nand a dog /* big\nblock */!", "a cat \nand a dog !"),
        ("see http://x", "see http:"),
        ("a | b } c", "a | b } c"),
        ("{open", "open"),
        ("{}", ""),
        ("{{{x}}}", "x"),
    ],
)
def test_texts_with_one_outcome(written: str, becomes: str) -> None:
    assert resolve(written, random.Random(0)) == becomes


def test_every_choice_comes_up_and_nests() -> None:
    seen = {resolve("a {b|c {d|e}|}", random.Random(k)) for k in range(200)}
    assert seen == {"a b", "a c d", "a c e", "a "}


@given(st.text(alphabet="ab{}|\\/*\n ", max_size=60))
def test_any_text_ends(written: str) -> None:
    assert "{" not in resolve(written.replace("\\", ""), random.Random(1))


def test_deep_nesting_ends() -> None:
    assert resolve("{" * 100_000 + "x" + "}" * 100_000, random.Random(0)) == "x"


def test_the_choice_follows_the_seed_and_is_said() -> None:
    file = ui([text(1, None, "a {1|2|3|4|5|6|7|8} cat")], [])
    texts = {parse_ui(file, options=ReadOptions(seed=k))["1"].inputs["text"] for k in range(40)}
    assert len(texts) > 4
    first, again = (parse_ui(file, options=ReadOptions(seed=3)) for _ in range(2))
    assert first == again
    assert [(w.type, w.node_id, w.input_name) for w in first.warnings] == [("dynamic_prompt", "1", "text")]


def saved(prefix: str, options: ReadOptions | None = None) -> object:
    sampler = node(3, "KSampler", [], ["LATENT"], SAMPLER_VALUES, properties={"Node name for S&R": "KSampler"})
    size = node(4, "EmptyLatentImage", [], ["LATENT"], [640, 480, 1], title="My size")
    save = node(5, "SaveImage", [], [], [prefix])
    return parse_ui(ui([sampler, size, save], []), options=options or ReadOptions(now=NOW))["5"].inputs[
        "filename_prefix"
    ]


@pytest.mark.parametrize(
    ("prefix", "becomes"),
    [
        ("plain", "plain"),
        ("%date:yyyy-MM-dd%/x", "2026-03-07/x"),
        ("%date:yy.M.d hh-mm-ss%", "26.3.7 05-04-09"),
        ("s%KSampler.seed%_%KSampler.cfg%", "s7_8"),
        ("%My size.width%x%My size.height%", "640x480"),
        ("%width% %year%", "%width% %year%"),  # the server's own
        ("%KSampler.nothing%", "%KSampler.nothing%"),
        ("%Nobody.seed%", "%Nobody.seed%"),
        ("100% sure", "100% sure"),
    ],
)
def test_file_name_prefixes(prefix: str, becomes: str) -> None:
    assert saved(prefix) == becomes


def test_dates_can_be_left_for_the_run() -> None:
    assert saved("%date:yyyy%-%KSampler.steps%", ReadOptions(keep_dates=True)) == "%date:yyyy%-20"


def test_values_in_file_names_are_made_safe() -> None:
    nodes = [
        text(1, None, 'a/b:c*"d"', properties={"Node name for S&R": "T"}),
        node(5, "SaveImage", [], [], ["%T.text%"]),
    ]
    assert parse_ui(ui(nodes, []))["5"].inputs["filename_prefix"] == "a_b_c__d_"


def test_date_notation() -> None:
    assert format_date("yyyy yy MM M dd d hh h mm m ss s", NOW) == "2026 26 03 3 07 7 05 5 04 4 09 9"
