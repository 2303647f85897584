"""The measure itself: it reads every rendered scene right, and tells a wrong picture from a right one."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from training.palette import pastel, table
from training.render import FIELDS, Batch, Renderer, encode
from training.scenes import MOST_OBJECTS, SHAPES, Scene, Thing, draw_scene
from training.score import Reading, compare, read, totals

CPU = torch.device("cpu")


def scenes_of(seed: int, count: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


def clear(scene: Scene) -> bool:
    """Whether no two things touch. The corners of a square reach 1.22 radii far, so that two in 100 scenes have some
    that do, which then count as one."""
    return all(
        np.hypot(a.x - b.x, a.y - b.y) > 1.22 * (a.radius + b.radius) + 4 for a, b in combinations(scene.things, 2)
    )


def pictures(scenes: list[Scene], renderer: Renderer) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return list(renderer(encode(scenes)).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("soft", [False, True])
def test_reads_what_the_renderer_draws(soft: bool) -> None:
    scenes, colours = scenes_of(1, 64), pastel(table()) if soft else table()
    drawn = pictures(scenes, Renderer(CPU, colours=colours))
    every = [compare(s, read(p, colours)) for s, p in zip(scenes, drawn, strict=True)]
    apart = [score for score, scene in zip(every, scenes, strict=True) if clear(scene)]
    assert len(apart) > 36
    assert all(value == 100 for value in totals(apart).values()), totals(apart)
    assert all(value > 95 for value in totals(every).values()), totals(every)


def test_positions_are_read_to_a_pixel_or_two() -> None:
    scene = Scene("pair", (Thing("circle", "red", x=60, y=70), Thing("square", "blue", x=180, y=150)), "white",
                  relation="left", counts=(1, 1))  # fmt: skip
    reading = read(pictures([scene], Renderer(CPU))[0])
    assert [(f.shape, f.colour) for f in reading.objects] == [("circle", "red"), ("square", "blue")]
    for thing, found in zip(scene.things, reading.objects, strict=True):
        assert abs(thing.x - found.x) < 2
        assert abs(thing.y - found.y) < 2
    assert reading.objects[0].area == pytest.approx(np.pi * 35**2, rel=0.08)


SCENE = Scene("pair", (Thing("circle", "red", x=60, y=128), Thing("star", "blue", x=190, y=128)), "white",
              relation="left", counts=(1, 1))  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        (replace(SCENE, background="yellow"), {"backgrounds"}),
        (replace(SCENE, things=(replace(SCENE.things[0], colour="green"), SCENE.things[1])), {"colours"}),
        (replace(SCENE, things=(replace(SCENE.things[0], shape="square"), SCENE.things[1])), {"shapes"}),
        (replace(SCENE, things=(*SCENE.things, Thing("heart", "black", x=128, y=210))), {"counts"}),
        (replace(SCENE, things=(replace(SCENE.things[0], x=190), replace(SCENE.things[1], x=60))),
         {"relations", "plain relations"}),
        (replace(SCENE, things=(replace(SCENE.things[0], x=160, y=40), replace(SCENE.things[1], y=200))),
         {"plain relations"}),
    ],
)
def test_one_thing_wrong_costs_its_own_score_alone(shown: Scene, wrong: set[str]) -> None:
    reached = totals([compare(SCENE, read(pictures([shown], Renderer(CPU))[0]))])
    assert {name for name, value in reached.items() if value < 100} == wrong


def test_an_empty_picture_has_none_of_it() -> None:
    score = compare(SCENE, Reading("white", ()))
    assert (score.colours, score.shapes, score.count, score.relation, score.background) == (0, 0, False, False, True)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_whole_centred_and_of_its_radius(shape: str) -> None:
    scene = Scene("one", (Thing(shape, "black", x=128, y=128, radius=50),), "white", counts=(1,))
    dark = pictures([scene], Renderer(CPU))[0].mean(axis=-1) < 0.5
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    assert 128 - 58 <= rows[0] <= rows[-1] <= 128 + 58
    assert abs((columns[0] + columns[-1]) / 2 - 127.5) < 1.5  # each is its own mirror image
    assert columns[-1] - columns[0] > 80
    assert np.array_equal(dark, dark[:, ::-1]) or (dark != dark[:, ::-1]).mean() < 0.002


def test_renderer_gives_pictures_of_any_side_with_values_of_a_picture() -> None:
    batch = encode(scenes_of(2, 5))
    assert batch.things.shape == (5, MOST_OBJECTS, FIELDS)
    small, large = Renderer(CPU, side=64)(batch), Renderer(CPU)(batch)
    assert small.shape == (5, 3, 64, 64)
    assert large.shape == (5, 3, 256, 256)
    assert small.dtype == large.dtype == torch.float32
    assert 0 <= float(large.min()) <= float(large.max()) <= 1
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert float((shrunk - small).abs().mean()) < 0.03
    part = batch.part(2, 2)
    torch.testing.assert_close(Renderer(CPU)(part), large[2:4])


def test_outlines_and_edges_are_hollow() -> None:
    batch = encode([Scene("one", (Thing("circle", "red", x=128, y=128, radius=60),), "blue", counts=(1,))])
    solid, lines = Renderer(CPU)(batch)[0], Renderer(CPU, outlines=True)(batch)[0]
    assert float((solid[:, 128, 128] - lines[:, 128, 128]).abs().max()) > 0.4
    torch.testing.assert_close(lines[:, 128, 128], lines[:, 5, 5])
    edges = Renderer(CPU).edges(torch.from_numpy(batch.things))
    assert edges.shape == (1, 3, 256, 256)
    assert float(edges[0, :, 128, 128].max()) == 0
    assert float(edges[0, :, 128, 66:71].max()) == 1


def test_absent_things_leave_no_trace() -> None:
    things = np.zeros((1, MOST_OBJECTS, FIELDS), np.float32)
    picture = Renderer(CPU)(Batch(things, np.array([[4, 0]])))
    torch.testing.assert_close(picture, picture[:, :, :1, :1].expand_as(picture))
