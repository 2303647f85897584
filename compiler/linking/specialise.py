"""Opens the checkpoints that a program names and completes the steps that depend on what they are.

lower() knows file names only. resolve() reads keys and shapes (no weights) and writes into the steps' attrs what
runtime.context.OpContext documents: prediction type and noise schedule, latent scale, tokenizer, pixel scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.models.checkpoint import Architecture, detect, open_checkpoint
from compiler.models.control_file import detect_control, require_fit
from compiler.networks import NETWORKS
from compiler.networks.network import Config, NetworkDef
from compiler.networks.unet_config import residual_sizes
from graphs.errors import CheckpointError
from graphs.program import NetworkUse, Program, Step
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
SAMPLING_OPS = frozenset({"sample", "make_sigmas", "embed_time"})


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
    """The program with every step's attrs complete. Raises ModelMissingError, CheckpointError."""
    networks = {use.id: resolve_network(use, find) for use in program.networks.values()}
    models = _models_behind(program, networks)
    return program.with_steps(tuple(_completed(step, networks, models) for step in program.steps))


def _models_behind(program: Program, networks: Mapping[str, ResolvedNetwork]) -> dict[str, ResolvedNetwork]:
    """Step id of make_sigmas -> the model whose noise schedule it is of: that of the sample that takes its sigmas."""
    makers = {output: step.id for step in program.steps for output in step.outputs if step.op == "make_sigmas"}
    found: dict[str, ResolvedNetwork] = {}
    for step in program.steps:
        if step.op == "sample":
            for ref in step.refs():
                if ref in makers:
                    found[makers[ref]] = networks[step.networks["unet"]]
    return found


def _completed(
    step: Step, networks: Mapping[str, ResolvedNetwork], models: Mapping[str, ResolvedNetwork]
) -> Step:
    resolved = models.get(step.id) or next((networks[i] for i in step.networks.values()), None)
    if resolved is None:
        return step
    attrs: dict[str, Json]
    if step.op == "sample" and "controls" in step.attrs:
        resolved = networks[step.networks["unet"]]
        _check_controls(step, networks, resolved)
        attrs = {"model": _model_attrs(resolved), "residuals": [list(r) for r in residual_sizes(resolved.config)]}
    elif step.op in SAMPLING_OPS:
        attrs = {"model": _model_attrs(resolved)}
    elif step.op == "encode_text":
        attrs = {"clip": {"tokenizer": "sd1", "width": resolved.config.width}}
    elif resolved.definition.part == "vae":
        config = resolved.config
        attrs = {"vae": {"downscale": config.downscale, "latent_channels": config.embed_channels}}
    else:
        return step
    return replace(step, attrs={**step.attrs, **attrs})


def _check_controls(step: Step, networks: Mapping[str, ResolvedNetwork], model: ResolvedNetwork) -> None:
    for role, network in step.networks.items():
        if role.startswith("controlnet."):
            control = networks[network]
            require_fit(control.config, model.config, base_file(control.use.weights).name)


def _model_attrs(resolved: ResolvedNetwork) -> dict[str, Json]:
    architecture = resolved.architecture
    return {
        "prediction": architecture.prediction,
        "latent_scale": architecture.latent_scale,
        "latent_channels": resolved.config.out_channels,
        "schedule": dict(SCALED_LINEAR),
    }
