"""Opens the checkpoints that a program names and completes the steps that depend on what they are.

lower() knows file names only. resolve() reads keys and shapes (no weights), fills in the facts of each model once
(prediction, noise schedule, latent format), and writes into the attrs of other steps what runtime.context.OpContext
documents: tokenizer, latent format of the VAE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.models.checkpoint import Architecture, detect, open_checkpoint
from compiler.models.control_file import detect_control, require_fit
from compiler.networks import NETWORKS
from compiler.networks.network import Config, NetworkDef
from compiler.networks.unet_config import residual_sizes
from graphs.errors import CheckpointError
from graphs.program import ModelUse, NetworkUse, Program, Step
from graphs.values import ModelFile, base_file

Json = Any
FindFile = Callable[[ModelFile], Path]

# The noise schedule that Stable Diffusion 1 was trained with. Checkpoints do not carry it.
SCALED_LINEAR: Mapping[str, Json] = {
    "kind": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
}
LATENT_DOWNSCALE = 8  # pixels to a latent unit, of Stable Diffusion 1


@dataclass(frozen=True)
class ResolvedNetwork:
    """A network use with its definition and the config that its checkpoint's shapes gave."""

    use: NetworkUse
    definition: NetworkDef
    config: Config
    architecture: Architecture


def resolve_network(use: NetworkUse, find: FindFile) -> ResolvedNetwork:
    """Raises ModelMissingError, CheckpointError."""
    base = base_file(use.weights)
    definition = NETWORKS[use.kind]
    checkpoint = open_checkpoint(find(base))
    architecture = detect_control(checkpoint) if definition.part == "controlnet" else detect(checkpoint)
    try:
        config = definition.configure(architecture, use.options)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=base.name, hint=error.hint) from None
    return ResolvedNetwork(use, definition, config, architecture)


def resolve(program: Program, find: FindFile) -> Program:
    """The program with the facts of its models and every step's attrs complete. Raises ModelMissingError,
    CheckpointError."""
    networks = {use.id: resolve_network(use, find) for use in program.networks.values()}
    models = {use.id: _with_facts(use, find) for use in program.models.values()}
    makers = {name: step for step in program.steps for name in step.outputs}
    steps = tuple(_completed(step, networks, makers) for step in program.steps)
    return replace(program, steps=steps, models=models)


def _with_facts(use: ModelUse, find: FindFile) -> ModelUse:
    model = resolve_network(NetworkUse(use.id, "unet", use.weights), find)
    architecture = model.architecture
    facts: dict[str, Json] = {
        "family": architecture.family,
        "prediction": architecture.prediction,
        "schedule": dict(SCALED_LINEAR),
        "latent": _latent(model.config.out_channels, LATENT_DOWNSCALE, architecture.latent_scale),
        "input_channels": model.config.in_channels,
        "vector": None,
        "concat": None,
    }
    return replace(use, facts=merged_facts(facts, use.overrides))


def merged_facts(facts: Mapping[str, Json], overrides: Mapping[str, Json]) -> dict[str, Json]:
    """The facts with the overrides in their place; an object in both is merged key by key, unless it is of a kind of
    its own."""
    merged = dict(facts)
    for name, value in overrides.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and "kind" not in value:
            merged[name] = merged_facts(old, value)
        else:
            merged[name] = value
    return merged


def _latent(channels: int, downscale: int, scale: float) -> dict[str, Json]:
    return {"channels": channels, "downscale": downscale, "scale": scale, "shift": 0.0}


def _completed(step: Step, networks: Mapping[str, ResolvedNetwork], makers: Mapping[str, Step]) -> Step:
    """makers: Ref name -> the step that makes it."""
    resolved = next((networks[i] for i in step.networks.values()), None)
    if resolved is None:
        return step
    attrs: dict[str, Json]
    if step.op == "guide":
        controls = [control for entry in _behind(step, makers) for control in _behind(entry, makers)]
        if all(control.op != "control" for control in controls):
            return step
        _check_controls(controls, networks, resolved)
        attrs = {"residuals": [list(r) for r in residual_sizes(resolved.config)]}
    elif step.op == "encode_text":
        attrs = {"clip": {"tokenizer": "sd1", "width": resolved.config.width}}
    elif resolved.definition.part == "vae":
        config, scale = resolved.config, resolved.architecture.latent_scale
        attrs = {"latent": _latent(config.embed_channels, config.downscale, scale)}
    else:
        return step
    return replace(step, attrs={**step.attrs, **attrs})


def _behind(step: Step, makers: Mapping[str, Step]) -> list[Step]:
    return [makers[name] for name in step.refs()]


def _check_controls(
    steps: Iterable[Step], networks: Mapping[str, ResolvedNetwork], model: ResolvedNetwork
) -> None:
    for step in steps:
        if step.op == "control":
            control = networks[step.networks["controlnet"]]
            require_fit(control.config, model.config, base_file(control.use.weights).name)
