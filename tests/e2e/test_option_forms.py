"""The forms that batches, sizes, targets and settings take on the command line."""

from __future__ import annotations

from typing import Any

import click
import pytest

from comfyc.building import options_of
from comfyc.commands.cache import BytesType
from comfyc.parameter_types import BatchType, SettingType, Size, SizeType, TargetsType
from graphs.errors import UsageError


@pytest.mark.parametrize(("text", "value"), [("1", (1, 1)), ("4", (4, 4)), ("1:4", (1, 4)), ("2..8", (2, 8))])
def test_batch(text: str, value: tuple[int, int]) -> None:
    assert BatchType().convert(text, None, None) == value


@pytest.mark.parametrize(
    ("text", "width", "height"),
    [
        ("512", (512, 512), (512, 512)),
        ("512x768", (512, 512), (768, 768)),
        ("512..1024", (512, 1024), (512, 1024)),
        ("512x256..768x1024", (512, 768), (256, 1024)),
        ("512X768", (512, 512), (768, 768)),
        ("256:512", (256, 512), (256, 512)),
    ],
)
def test_size(text: str, width: tuple[int, int], height: tuple[int, int]) -> None:
    assert SizeType().convert(text, None, None) == Size(width, height)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(BatchType(), t) for t in ("0", "4:1", "a", "", "-1", "1:2:3")]
    + [(SizeType(), t) for t in ("500", "8", "1024..512", "big", "512x", "99999999", "512x768..1024x512")]
    + [(TargetsType(), t) for t in ("gtx", "", "sm", "sm89,foo")]
    + [(SettingType(), t) for t in ("6.text", "text=x", "=x", ".a=b", "6.=x")]
    + [(BytesType(), t) for t in ("x", "-1", "10 apples")],
)
def test_what_is_refused(kind: click.ParamType[Any], text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.exit_code == 2


def test_settings_keep_everything_behind_the_first_equals_sign() -> None:
    assert SettingType().convert("57:8.text=a = b, (c:1.2)", None, None) == ("57:8.text", "a = b, (c:1.2)")
    assert SettingType().convert("6.text=", None, None) == ("6.text", "")


def test_targets_and_sizes_in_bytes() -> None:
    assert TargetsType().convert("sm_89, SM120,sm89", None, None) == ("sm89", "sm120")
    assert BytesType().convert("2 GiB", None, None) == 2 << 30
    assert BytesType().convert("1.5k", None, None) == 1536


def test_options_of_makes_the_profile() -> None:
    options = options_of(batch=(2, 3), size=Size((256, 512), (512, 768)), freeze=("6.text",))
    assert (options.profile.batch, options.profile.width, options.profile.height) == ((2, 3), (256, 512), (512, 768))
    assert options.freeze == ("6.text",)
    assert options_of().profile.batch == (1, 4)


def test_targets_need_the_backend_that_builds_for_them() -> None:
    assert options_of(backend="auto", targets=("sm89",)).targets == ("sm89",)
    with pytest.raises(UsageError, match="--target"):
        options_of(backend="eager", targets=("sm89",))
