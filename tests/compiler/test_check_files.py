"""The names that a widget may take of a model folder."""

from __future__ import annotations

import pytest

from compiler.checking.files import KnownFiles

ENCODER, DECODER = "taesd_encoder.safetensors", "taesd_decoder.safetensors"


@pytest.mark.parametrize(
    ("approximate", "names"),
    [
        ((ENCODER, DECODER), ["a.safetensors", "taesd"]),
        ((ENCODER,), ["a.safetensors"]),
        ((ENCODER, "taesdxl_decoder.pth"), ["a.safetensors"]),
        (("taesdxl_encoder.pth", "taesdxl_decoder.pth"), ["a.safetensors", "taesdxl"]),
    ],
)
def test_a_tiny_vae_is_offered_where_both_of_its_halves_are(approximate: tuple[str, ...], names: list[str]) -> None:
    files = {"vae": ("a.safetensors",), "vae_approx": approximate}
    assert list(KnownFiles(files).names("vae") or ()) == names
    assert list(KnownFiles(files).names("vae_approx") or ()) == list(approximate)


def test_a_folder_that_is_not_known_has_no_names() -> None:
    assert KnownFiles({"checkpoints": ()}).names("vae") is None
