"""Prompts of any length take time linear in it, and mean the same as short ones."""

from __future__ import annotations

import contextlib
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.text.bpe import clean
from runtime.text.chunks import tokenize
from runtime.text.prompt import weighted_pieces

SECONDS = 2.0  # of the processor


def by_definition(text: str, weight: float = 1.0) -> list[tuple[str, float]]:
    """Cut at the parentheses of the outermost groups, then the same inside each: quadratic where they nest."""
    parts, start, depth = [], 0, 0
    for at, char in enumerate(text):
        if char == "(":
            if depth == 0 and at > start:
                parts.append(text[start:at])
                start = at
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                parts.append(text[start : at + 1])
                start = at + 1
    pieces: list[tuple[str, float]] = []
    for part in [*parts, *([text[start:]] if start < len(text) else [])]:
        if len(part) < 2 or part[0] != "(" or part[-1] != ")":
            pieces.append((part, weight))
            continue
        inside, inner = part[1:-1], weight * 1.1
        colon = inside.rfind(":")
        if colon > 0:
            with contextlib.suppress(ValueError):
                inside, inner = inside[:colon], float(inside[colon + 1 :])
        pieces += by_definition(inside, inner)
    return pieces


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(["(", "(", "(", ")", ")", ")", ":", "1.2", ":0.5)", "a", "b c", " "]), max_size=24))
def test_groups_mean_what_they_are_defined_as(parts: list[str]) -> None:
    text = "".join(parts)
    assert weighted_pieces(text) == by_definition(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("aé\u0301\u0316\u0327\u0344\u1e69 \u05b0\u05bc漢"), max_size=40))
def test_marks_in_any_order_have_one_normal_form(text: str) -> None:
    spaced = "".join(f" {c} " if c == "漢" else c for c in text)
    assert clean(text) == " ".join(unicodedata.normalize("NFC", spaced).lower().split())


@pytest.mark.parametrize(
    "text",
    [
        "a" + "\u0301\u0316" * 150_000,
        "a" + "\u0301" * 300_000,
        "(" * 100_000 + "x" + ")" * 100_000,
        "(" * 100_001 + "x" + ")" * 99_999,
        "(" * 5_000 + "x" + ":2)" * 5_000,
        ("(" * 500 + "x" + ")" * 500) * 200,
        "(" * 300_000,
        ")" * 300_000,
        "letters" * 40_000,
        "embedding:x " * 20_000,
    ],
    ids=["marks", "mark", "nested", "open", "weights", "groups", "unclosed", "stray", "letters", "embeddings"],
)
def test_long_prompts(text: str) -> None:
    tokenize("warm up é")
    began = time.process_time()
    assert tokenize(text)
    assert time.process_time() - began < SECONDS
