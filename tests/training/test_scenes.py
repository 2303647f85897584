"""Scenes are drawn alike from the same seed, keep their promises, and captions say what they show."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from training.captions import NUMBERS, caption
from training.palette import NAMES, clash
from training.probe import held_out
from training.scenes import HELD_OUT, MOST_OBJECTS, RADII, SHAPES, SIDE, Scene, draw_scene

COUNT = 400
_NUMBER = {word: value for value, word in enumerate(NUMBERS)} | {str(n): n for n in range(6)} | {"a": 1, "an": 1}
_RELATIONS = {  # what stands before the relation is there seen from what stands behind it
    "left": r"(?:to the |on the |on the )?left (?:side )?of",
    "right": r"(?:to the |on the )?right (?:side )?of",
    "above": r"above|over|higher than",
    "below": r"below|under|beneath|lower than",
}


def drawn(seed: int, count: int = COUNT, *, apart: bool = False) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(rng, held_out=apart) for _ in range(count)]


def test_a_seed_gives_the_same_scenes_and_captions() -> None:
    assert drawn(1, 40) == drawn(1, 40) != drawn(2, 40)
    assert held_out(20, seed=3) == held_out(20, seed=3)
    texts = [[caption(np.random.default_rng(5), scene) for scene in drawn(1, 40)] for _ in range(2)]
    assert texts[0] == texts[1]


def test_what_is_held_out_is_never_trained_on() -> None:
    trained = {scene.content for scene in drawn(3, 3000)}
    apart = {scene.content for scene in drawn(4, 600, apart=True)}
    assert not trained & apart
    assert len(apart) > 200


def test_held_out_goes_by_content_and_takes_its_share() -> None:
    """Where exactly things stand, or how large they are, makes no new content: else it would leak."""
    first, second = drawn(5), drawn(5)
    moved = [Scene(s.kind, s.things[::-1] if s.kind == "many" else s.things, s.background, "striped", s.place,
                   s.relation, s.counts) for s in second]  # fmt: skip
    assert [s.content for s in first] == [s.content for s in moved]
    rng = np.random.default_rng(6)
    either = [draw_scene(rng, held_out=bool(i % HELD_OUT == 0)) for i in range(64)]
    assert [s.held_out for s in either] == [i % HELD_OUT == 0 for i in range(64)]


@pytest.mark.parametrize("apart", [False, True])
def test_scenes_keep_their_promises(apart: bool) -> None:
    scenes = drawn(7, apart=apart)
    assert {scene.kind for scene in scenes} == {"one", "many", "pair", "groups", "list"}
    for scene in scenes:
        assert sum(scene.counts) == len(scene.things) <= MOST_OBJECTS
        assert scene.background in NAMES
        for thing in scene.things:
            assert not clash(thing.colour, scene.background)
            assert thing.shape in SHAPES
            assert RADII[thing.size][0] <= thing.radius <= RADII[thing.size][1]
            assert thing.radius <= min(thing.x, thing.y, SIDE - thing.x, SIDE - thing.y)
        for one, other in combinations(scene.things, 2):
            assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius


def test_relations_hold() -> None:
    pairs = [scene for scene in drawn(8, 1000) if scene.relation]
    assert Counter(scene.relation for scene in pairs).keys() == {"left", "right", "above", "below"}
    for scene in pairs:
        first, second = scene.things
        along = {"left": second.x - first.x, "right": first.x - second.x, "above": second.y - first.y,
                 "below": first.y - second.y}  # fmt: skip
        assert along[scene.relation] > 40


def _groups(text: str) -> list[tuple[int, str, str]]:
    """(number, colour, shape) as a reader of the caption would count them, background words left out."""
    number = "|".join(sorted(_NUMBER, key=len, reverse=True))
    colours = "|".join([*NAMES, "gray"])
    shapes = "|".join(SHAPES)
    words = r"(?:small|tiny|little|large|big|huge|smiling|happy|striped|dotted|spotted)"
    pattern = rf"\b({number}) (?:{words} )*({colours}) ({shapes})(?:e?s)?\b"
    return [(_NUMBER[n], "grey" if c == "gray" else c, s) for n, c, s in re.findall(pattern, text)]


def test_a_caption_says_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(9)
    for scene in drawn(10):
        text = caption(rng, scene, plain=True)
        asked: Counter[tuple[str, str]] = Counter()
        for number, colour, shape in _groups(text):
            asked[colour, shape] += number
        assert asked == Counter((t.colour, t.shape) for t in scene.things), text
        ground = "gr[ae]y" if scene.background == "grey" else scene.background
        assert re.search(rf"\b{ground}( background)?\b", text), text


def test_a_caption_puts_the_things_of_a_pair_in_their_places() -> None:
    rng = np.random.default_rng(11)
    seen = 0
    for scene in (s for s in drawn(12, 1000) if s.relation):
        text = caption(rng, scene, plain=True)
        first, second = (f"{t.colour} {t.shape}" for t in scene.things)
        leads = text.index(first) < text.index(second)
        for relation, words in _RELATIONS.items():
            if re.search(rf"\b(?:{words})\b", text):
                opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}
                assert scene.relation == (relation if leads else opposite[relation]), text
                seen += 1
    assert seen > 120


def test_vague_captions_say_less_but_nothing_false() -> None:
    rng = np.random.default_rng(13)
    for scene in drawn(14):
        text = caption(rng, scene)
        colours = {t.colour for t in scene.things} | {scene.background}
        said = {("grey" if word == "gray" else word) for word in re.findall(r"[a-z]+", text)} & set(NAMES)
        assert said <= colours, text
