"""Sizes that follow a dynamic dimension: computed, solved, printed and parsed in one place."""

from __future__ import annotations

import pytest

from graphs.dims import Dim, Size, size_from_json, size_of, size_to_json


@pytest.mark.parametrize(
    ("size", "n", "expected"),
    [
        (4, 9, 4),
        (Dim("height"), 9, 9),
        (Dim("height", times=8), 9, 72),
        (Dim("height", over=2), 9, 5),
        (Dim("height", over=4), 65, 17),
        (Dim("height", over=8), 9, 2),
        (Dim("height", times=128, over=3), 24, 1024),  # a latent unit of 42.67 pixels
    ],
)  # fmt: skip
def test_a_size_is_a_multiple_or_a_part_rounded_up(size: Size, n: int, expected: int) -> None:
    assert size_of(size, {"height": n}) == expected


@pytest.mark.parametrize("n", range(1, 40))
def test_halving_twice_is_a_quarter(n: int) -> None:
    half = Dim("h", over=2)
    assert half.size(half.size(n)) == Dim("h", over=4).size(n)


def test_a_size_is_solved_where_one_dynamic_size_gives_it() -> None:
    assert Dim("height", times=8).solve(512) == 64
    assert Dim("height", times=8).solve(513) is None
    assert Dim("height", over=4).solve(16) is None
    assert Dim("height", times=128, over=3).solve(1024) == 24


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (3, 3),
        (Dim("batch"), "batch"),
        (Dim("height", 8), "height*8"),
        (Dim("width", 1, 4), "width/4"),
        (Dim("width", 128, 3), "width*128/3"),
    ],
)
def test_the_json_form_reads_back(size: Size, text: int | str) -> None:
    assert size_to_json(size) == text
    assert size_from_json(text) == size


def test_equal_sizes_are_equal_values() -> None:
    assert Dim("h", 8, 2) == Dim("h", 4) == size_from_json("h*8/2")


@pytest.mark.parametrize("text", ["", "8*height", "height*", "height*0", "height/0", "height-1", "height*8*2"])
def test_a_text_that_is_no_dimension_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a dimension"):
        size_from_json(text)
