"""Networks as torch modules with a checkpoint's weights: what the compiled forms are held against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compiler.models.architecture import Architecture, detect
from compiler.models.checkpoint import open_checkpoint
from compiler.models.control_file import detect_control
from compiler.models.weights_tree import merged
from compiler.networks import NETWORKS
from graphs.values import Lora, ModelFile, Weights, base_file


def recipe_of(file: Path, *loras: tuple[Path, float]) -> Weights:
    """Weights that name files by their whole path; resolve them with `by_path`."""
    weights: Weights = ModelFile("checkpoints", str(file))
    for path, strength in loras:
        weights = Lora(weights, ModelFile("loras", str(path)), strength)
    return weights


def by_path(file: ModelFile) -> Path:
    return Path(file.name)


def architecture_of(kind: str, file: Path) -> Architecture:
    """Of the file that a network of that kind is read from."""
    detected = detect_control if NETWORKS[kind].part == "controlnet" else detect
    return detected(open_checkpoint(file))


def load_network(kind: str, recipe: Weights, **options: Any) -> nn.Module:
    """The network in float32. Fails where a weight is missing."""
    definition = NETWORKS[kind]
    config = definition.configure(architecture_of(kind, by_path(base_file(recipe))).parts, options)
    weights = merged(recipe, definition.part, by_path)
    with torch.device("meta"):
        module = definition.module(config)
    state = {key: weights[key]().to(torch.float32) for key in module.state_dict()}
    module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)


class EagerModule:
    """A torch module as the runtime's Module protocol has it."""

    def __init__(self, kind: str, recipe: Weights, **options: Any) -> None:
        self.network = load_network(kind, recipe, **options)
        definition = NETWORKS[kind]
        config = self.network.config
        self._inputs = [spec.name for spec in definition.inputs(config)]
        self._outputs = [spec.name for spec in definition.outputs(config)]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs = self.network(*(inputs[name] for name in self._inputs))
        return dict(zip(self._outputs, outputs if isinstance(outputs, tuple | list) else (outputs,), strict=True))

    def set_weights(self, changed: Mapping[str, Tensor]) -> None:
        self.network.load_state_dict(dict(changed), strict=False)

    def close(self) -> None:
        pass
