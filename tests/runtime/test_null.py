"""The backend that runs nothing gives tensors of the sizes that the other backends give."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from graphs.dims import Dim
from graphs.errors import PlanError, RunError
from runtime.backends.backend import EngineSpec, LoadSpec, Module, NetworkModel, TensorSpec
from runtime.backends.null import NullBackend
from runtime.network_weights import NetworkWeights

HEIGHT, WIDTH = Dim("height"), Dim("width")
PICTURE = TensorSpec("image", "float32", (1, Dim("height", 8), Dim("width", 8), 3))
LATENT = TensorSpec("latent", "float32", (1, 4, HEIGHT, WIDTH))
QUARTER = TensorSpec("control", "float32", (1, 320, Dim("height", over=4), Dim("width", over=4)))


def module(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> Module:
    engine = NullBackend().build(NetworkModel("any", b"", inputs, outputs), EngineSpec("fp32", "cpu"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "engine"
        path.write_bytes(engine)
        return NullBackend().load(path, NetworkWeights([]), LoadSpec())


def test_a_part_of_a_size_is_rounded_up() -> None:
    out = module((LATENT,), (QUARTER,))({"latent": torch.zeros(1, 4, 65, 64)})
    assert out["control"].shape == (1, 320, 17, 16)


def test_a_size_is_solved_from_its_multiple() -> None:
    out = module((PICTURE,), (LATENT,))({"image": torch.zeros(1, 64, 128, 3)})
    assert out["latent"].shape == (1, 4, 8, 16)


def test_sizes_that_do_not_go_together_are_refused() -> None:
    two = module((LATENT, QUARTER), (LATENT,))
    with pytest.raises(RunError, match=r"control: wrong shape: height/4 is 16 here"):
        two({"latent": torch.zeros(1, 4, 64, 64), "control": torch.zeros(1, 320, 15, 16)})


def test_a_size_that_no_input_has_is_refused() -> None:
    with pytest.raises(PlanError, match="no input has: expected steps"):
        module((LATENT,), (TensorSpec("t", "float32", (Dim("steps"),)),))({"latent": torch.zeros(1, 4, 8, 8)})
