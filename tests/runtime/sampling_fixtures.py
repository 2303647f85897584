"""The SD1.5 model of the tests, the recorded tables, and small networks whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.backends.backend import Module
from runtime.context import OpContext
from runtime.ops.guiding import entry, guide
from runtime.sampling.batching import Calls, alone
from runtime.sampling.conditions import Condition, Guider
from runtime.sampling.driver import Denoise, Observe, drive
from runtime.sampling.model_sampling import ModelSampling
from runtime.sampling.paths import model_sampling
from runtime.sampling.sampler import Prediction, Sampler

TABLES = Path(__file__).parents[1] / "parity" / "data" / "tables"
SD15: dict[str, Any] = {
    "family": "sd15",
    "prediction": "eps",
    "schedule": {"kind": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "timesteps": 1000},
    "latent": {"channels": 4, "downscale": 8, "scale": 0.18215, "shift": 0.0},
    "input_channels": 4,
    "vector": None,
    "concat": None,
}


def table(name: str) -> Any:
    return json.loads((TABLES / f"{name}.json").read_text())


def sd15() -> ModelSampling:
    return model_sampling(SD15)


def gaussian(x: Tensor, sigma: Tensor, spread: float = 2.0, mean: float = 0.7) -> Tensor:
    """The exact denoised prediction where the data are normal with this mean and standard deviation.

    The ODE dx/dsigma = (x - denoised) / sigma has the solution
    x(sigma) = mean + (x(s0) - mean) * sqrt((spread^2 + sigma^2) / (spread^2 + s0^2))."""
    share = spread**2 / (spread**2 + sigma**2)
    return mean + (x - mean) * share


def plain(predict: Callable[[Tensor, Tensor], Prediction]) -> Denoise:
    """A denoise function that calls no network."""

    def denoise(x: Tensor, sigma: Tensor) -> Calls[Prediction]:
        yield from ()
        return predict(x, sigma)

    return denoise


def driven(
    sampler: Sampler,
    predict: Callable[[Tensor, Tensor], Prediction],
    sigmas: Tensor | None = None,
    observe: Observe | None = None,
) -> Tensor:
    """What a sampler gives with a function for its network."""
    return alone(drive(sampler, plain(predict), torch.zeros(1) if sigmas is None else sigmas, observe))


def cfg_guider(
    here: OpContext,
    positive: Condition | tuple[Condition, ...],
    negative: Condition | tuple[Condition, ...],
    cfg: float,
    **patches: tuple[float, ...],
) -> Guider:
    """Classifier-free guidance in the attrs of a context."""
    sides = {
        name: side if isinstance(side, tuple) else (side,)
        for name, side in (("positive", positive), ("negative", negative))
    }
    attrs = {**here.attrs, "kind": "cfg", "patches": list(patches)}
    operands = {str(position): patch for position, patch in enumerate(patches.values())}
    return guide(replace(here, attrs=attrs), sides, {"cfg": cfg}, operands)


def texts(here: OpContext, *embeddings: Tensor) -> tuple[Condition, ...]:
    """A plain entry for each."""
    return tuple(entry(here, embedding) for embedding in embeddings)


@dataclass
class FakeModule:
    """An engine whose answer is a function of its inputs; keeps the shapes it was called with."""

    answer: Callable[[Mapping[str, Tensor]], Tensor]
    calls: list[dict[str, tuple[int, ...]]] = field(default_factory=list)

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.calls.append({name: tuple(tensor.shape) for name, tensor in inputs.items()})
        return {"eps": self.answer(inputs)}

    def set_weights(self, changed: Mapping[str, torch.Tensor]) -> None:
        raise AssertionError("a function has no weights")

    def close(self) -> None:
        pass


def text_eps(inputs: Mapping[str, Tensor]) -> Tensor:
    """A network whose eps depends on x, the timestep and the mean of the text, so that every input matters."""
    text = inputs["context"].mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
    time = (inputs["timesteps"] / 1000).reshape(-1, 1, 1, 1)
    x = inputs["x"]
    return 0.8 * x + 0.1 * text * torch.tanh(x) + 0.05 * time


def context(
    modules: Mapping[str, Module],
    compat: str = "comfyui-0.8",
    progress: Callable[[int, int], None] = lambda done, total: None,
    **attrs: Any,
) -> OpContext:
    here = Path()
    return OpContext(
        attrs={"guidance": "joint", **attrs},
        module=lambda role: modules[role],
        device=torch.device("cpu"),
        compat=compat,
        node="3",
        progress=progress,
        input_dir=here,
        output_dir=here,
        temp_dir=here,
        model=SD15,
    )
