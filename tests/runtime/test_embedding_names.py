"""Textual inversions by name: which of them a prompt names, and how a plan writes that down."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.errors import ModelMissingError
from runtime.ops.text import _chunks
from runtime.text.embeddings import mentioned
from tests.runtime.op_context import context

Log = pytest.LogCaptureFixture



@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a fox", {}),
        ("a fox, embedding:style", {"style": "embeddings/style.pt"}),
        ("a fox, (embedding:style:0.4) at night", {"style": "embeddings/style.pt"}),
        ("embedding:style, embedding:moods/dusky", {
            "style": "embeddings/style.pt", "moods/dusky": "embeddings/moods/dusky.safetensors"}),
        ("embedding:dusky", {"dusky": "embeddings/moods/dusky.safetensors"}),
        ("embedding:style.pt", {"style.pt": "embeddings/style.pt"}),
        ("embedding:unheard-of", {}),
        ("embedding:", {}),
        ("embedding:style, embedding:none,", {"style": "embeddings/style.pt"}),
    ],
)  # fmt: skip
def test_what_a_prompt_names(text: str, found: dict[str, str], tmp_path: Path, caplog: Log) -> None:
    there = {"style": tmp_path / "style.pt", "moods/dusky": tmp_path / "moods/dusky.safetensors"}
    there["style"].touch()
    assert mentioned([text], there) == found
    assert caplog.text == ""  # encoding says what is missing


def test_what_was_there_when_the_plan_was_compiled_must_be_there(tmp_path: Path) -> None:
    from dataclasses import replace

    here = replace(context(tmp_path), compiled_embeddings={"style": "embeddings/style.pt"})
    encoder = {"name": "clip_l", "width": 8, "padding": 49407}
    with pytest.raises(ModelMissingError, match=r"node 9: .*'style' is not in the model folders: expected embeddings/"):
        _chunks(here, encoder, "a fox, embedding:style,")
    assert len(_chunks(here, encoder, "a fox, embedding:other")) == 1
