"""Opens the model files that a program names and puts in what depends on what they are.

lower() knows file names only, and names networks by role. resolve() reads keys and shapes (no weights): the family of
each file decides which networks play the roles (casting.py), which facts the model has, and whether it takes a vector
condition or more channels than the latent's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from compiler.linking.casting import FindFile, architecture_of, cast, controls_of
from compiler.linking.conditioning import with_conditions
from compiler.models.architecture import Architecture, detect, not_compiled
from compiler.models.checkpoint import open_checkpoint
from compiler.models.control_file import require_fit
from compiler.networks import NETWORKS
from compiler.networks.network import Config, NetworkDef
from compiler.networks.unet_config import residual_sizes
from graphs.errors import CheckpointError
from graphs.program import ModelUse, NetworkUse, Program, Step
from graphs.values import base_file

Json = Any

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
    architecture = architecture_of(open_checkpoint(find(base)), definition.part)
    try:
        config = definition.configure(architecture.parts, use.options)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=base.name, hint=error.hint) from None
    return ResolvedNetwork(use, definition, config, architecture)


def resolve(program: Program, find: FindFile) -> Program:
    """The program with its networks, the facts of its models and every step's attrs. Raises ModelMissingError,
    CheckpointError."""
    program = cast(program, find)
    networks = {use.id: resolve_network(use, find) for use in program.networks.values()}
    models = {use.id: _with_facts(use, find) for use in program.models.values()}
    makers = {name: step for step in program.steps for name in step.outputs}
    steps = with_conditions((_completed(step, networks, makers) for step in program.steps), models)
    return replace(program, steps=steps, models=models)


# --- models


def _with_facts(use: ModelUse, find: FindFile) -> ModelUse:
    checkpoint = open_checkpoint(find(base_file(use.weights)))
    architecture = detect(checkpoint)
    family = architecture.family
    if family is None:
        name = base_file(use.weights).name
        raise CheckpointError("the file holds no denoiser (U-Net)", where=name, hint="use a full checkpoint")
    channels = architecture.parts[family.denoiser.name].in_channels
    more = channels - family.latent.channels
    concat = family.concat.get(more)
    if more and concat is None:
        raise not_compiled(str(checkpoint.path), f"a U-Net that takes {channels} channels")
    facts: dict[str, Json] = {
        "family": family.name,
        "prediction": "eps",
        "schedule": dict(family.schedule),
        "latent": family.latent.facts(),
        "input_channels": channels,
        "vector": family.vector.recipe() if family.vector is not None else None,
        "concat": concat.recipe() if concat is not None else None,
    }
    facts = merged_facts(facts, family.prediction(checkpoint))
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


# --- steps


def _completed(step: Step, networks: Mapping[str, ResolvedNetwork], makers: Mapping[str, Step]) -> Step:
    """makers: Ref name -> the step that makes it."""
    resolved = next((networks[i] for i in step.networks.values()), None)
    if resolved is None:
        return step
    attrs: dict[str, Json]
    if step.op == "guide":
        controls = controls_of(step, makers)
        if not controls:
            return step
        _check_controls(controls, networks, resolved)
        attrs = {"residuals": [list(r) for r in residual_sizes(resolved.config)]}
    elif step.op == "encode_text":
        text = step.attrs["text"]
        rows = [{**row, "width": networks[step.networks[row["name"]]].config.width} for row in text["encoders"]]
        attrs = {"text": {**text, "encoders": rows}}
    elif resolved.definition.part == "vae":
        attrs = {"latent": _vae_latent(resolved)}
    else:
        return step
    return replace(step, attrs={**step.attrs, **attrs})


def _vae_latent(resolved: ResolvedNetwork) -> dict[str, Json]:
    """How the VAE's own latents lie; they are scaled when they are sampled, by the model's format."""
    config = resolved.config
    return {"channels": config.embed_channels, "downscale": config.downscale, "scale": 1.0, "shift": 0.0}


def _check_controls(
    steps: Iterable[Step], networks: Mapping[str, ResolvedNetwork], model: ResolvedNetwork
) -> None:
    for step in steps:
        control = networks[step.networks["controlnet"]]
        require_fit(control.config, model.config, base_file(control.use.weights).name)
