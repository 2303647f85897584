"""State dicts inside something else, as training scripts leave them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compiler.models.model_file import MAX_TENSORS, open_model_file
from graphs.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(4.0), "b.bias": torch.zeros(2)}


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "params_ema"])
def test_wrapped_once_under_whatever_name(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: WEIGHTS}, tmp_path / "a.ckpt")
    assert set(open_model_file(tmp_path / "a.ckpt")) == set(WEIGHTS)


def test_shared_dicts_do_not_multiply(tmp_path: Path) -> None:
    leaf: dict[str, object] = {str(n): 0 for n in range(1_000)}
    middle = {str(n): leaf for n in range(1_000)}
    torch.save({"x": 1, "y": {str(n): middle for n in range(1_000)}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=f"at most {MAX_TENSORS}"):
        open_model_file(tmp_path / "a.ckpt")
