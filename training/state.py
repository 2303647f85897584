"""Training state in files of at most 15 MB, so that a run can go on elsewhere.

Weights and their running mean in float16, Adam's second moment as its square root in bfloat16; the first moment is
rebuilt within some steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

PART_BYTES = 15_000_000


def save_parts(
    folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, float] | None = None
) -> None:
    """Writes NAME-00.safetensors ..., each at most PART_BYTES; old parts of that name are removed first."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{name}-[0-9][0-9].safetensors"):
        old.unlink()
    for number, part in enumerate(_parts(tensors)):
        path = folder / f"{name}-{number:02}.safetensors"
        save_file(part, path, metadata={"facts": json.dumps(dict(facts or {}))})


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    size = 0
    for key, tensor in tensors.items():
        stored = tensor.detach().contiguous().cpu()
        nbytes = stored.numel() * stored.element_size()
        if part and size + nbytes > PART_BYTES:
            yield part
            part, size = {}, 0
        part[key], size = stored, size + nbytes
    if part:
        yield part


def load_parts(folder: Path, name: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The tensors of all parts and the facts. Raises FileNotFoundError where there are none."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, float] = {}
    paths = sorted(folder.glob(f"{name}-[0-9][0-9].safetensors"))
    if not paths:
        raise FileNotFoundError(f"no training state called {name} in {folder}")
    for path in paths:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    return tensors, facts


def has_parts(folder: Path, name: str) -> bool:
    return any(folder.glob(f"{name}-[0-9][0-9].safetensors"))


class Mean:
    """Exponential moving average of weights. The decay grows with the step, so that early weights are forgotten."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.values = {k: v.detach().clone().float() for k, v in parameters.items()}
        self.decay = decay

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], step: int) -> None:
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), [parameters[k].detach() for k in self.values], share)


def pack_state(parameters: Mapping[str, Tensor], mean: Mean, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    packed: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        packed[f"weight.{name}"] = parameter.detach().half()
        packed[f"mean.{name}"] = mean.values[name].half()
        second = optimizer.state.get(parameter, {}).get("exp_avg_sq")
        if second is not None:
            packed[f"second.{name}"] = second.sqrt().bfloat16()
    return packed


@torch.no_grad()
def unpack_state(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor], mean: Mean, optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(tensors[f"weight.{name}"])
        mean.values[name].copy_(tensors[f"mean.{name}"])
        if f"second.{name}" in tensors:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": tensors[f"second.{name}"].to(parameter.device).float() ** 2,
            }
