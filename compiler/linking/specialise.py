"""Opens the model files that a program names and puts in what depends on what they are.

lower() knows file names only, and names the networks of a text by a role. resolve() reads keys and shapes (no weights):
the family of each file decides which text encoders read a prompt and how, which facts the model has, and whether it
takes a vector condition or more channels than the latent's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.families import Family, family_of_text
from compiler.linking.conditioning import with_conditions
from compiler.models.architecture import Architecture, detect, not_compiled
from compiler.models.checkpoint import open_checkpoint
from compiler.models.control_file import detect_control, require_fit
from compiler.networks import NETWORKS
from compiler.networks.network import Config, NetworkDef
from compiler.networks.unet_config import residual_sizes
from graphs.errors import CheckpointError
from graphs.program import ModelUse, NetworkUse, Program, Step
from graphs.values import ModelFile, base_file

Json = Any
FindFile = Callable[[ModelFile], Path]

TEXT = "text"  # the role of text encoders, until the files say which they are


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
        config = definition.configure(architecture.parts, use.options)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=base.name, hint=error.hint) from None
    return ResolvedNetwork(use, definition, config, architecture)


def resolve(program: Program, find: FindFile) -> Program:
    """The program with its text encoders, the facts of its models and every step's attrs. Raises ModelMissingError,
    CheckpointError."""
    program = _with_encoders(program, find)
    networks = {use.id: resolve_network(use, find) for use in program.networks.values()}
    models = {use.id: _with_facts(use, find) for use in program.models.values()}
    makers = {name: step for step in program.steps for name in step.outputs}
    steps = with_conditions((_completed(step, networks, makers) for step in program.steps), models)
    return replace(program, steps=steps, models=models)


# --- texts


def _with_encoders(program: Program, find: FindFile) -> Program:
    """Each network in the role of a text as the encoders that its file has."""
    networks = {use.id: use for use in program.networks.values() if use.kind != TEXT}
    steps: list[Step] = []
    for step in program.steps:
        if step.op != "encode_text":
            steps.append(step)
            continue
        uses = [program.networks[name] for name in step.networks.values()]
        family, found = _text_of(uses, find)
        roles: dict[str, str] = {}
        for encoder in family.text.encoders:
            use = _encoder_use(found[encoder.name], encoder.name, family)
            roles[encoder.name] = use.id
            networks.setdefault(use.id, use)
        rows = [{"name": e.name, "padding": e.padding} for e in family.text.encoders]
        attrs = {**step.attrs, "text": {"encoders": rows, "pooled": family.text.pooled}}
        steps.append(replace(step, networks=roles, attrs=attrs))
    return replace(program, steps=tuple(steps), networks=networks)


def _text_of(uses: list[NetworkUse], find: FindFile) -> tuple[Family, dict[str, NetworkUse]]:
    """The family whose text these files encode, and the file of each encoder."""
    found: dict[str, NetworkUse] = {}
    family: Family | None = None
    for use in uses:
        checkpoint = open_checkpoint(find(base_file(use.weights)))
        family = detect(checkpoint).family or family
        found.update(dict.fromkeys(checkpoint.text_parts, use))
    if family is None or not family.text.names <= found.keys():
        family = family_of_text(frozenset(found))
    if family is None:
        where = ", ".join(base_file(use.weights).name for use in uses)
        got = f"the text encoders {', '.join(found)}" if found else "no text encoder"
        hint = "use a full checkpoint, or the loader of text encoders with the files of one family"
        raise CheckpointError("no family reads prompts with these text encoders", where=where, got=got, hint=hint)
    return family, found


def _encoder_use(use: NetworkUse, name: str, family: Family) -> NetworkUse:
    stop = use.options.get("stop_layer")
    options = {"stop_layer": family.text.layer if stop is None else stop, "norm": family.text.norm}
    return NetworkUse(use.id.replace(TEXT, name, 1), name, use.weights, options)


# --- models


def _with_facts(use: ModelUse, find: FindFile) -> ModelUse:
    checkpoint = open_checkpoint(find(base_file(use.weights)))
    architecture = detect(checkpoint)
    family = architecture.family
    if family is None:
        name = base_file(use.weights).name
        raise CheckpointError("the file holds no U-Net", where=name, hint="use a full checkpoint")
    channels = architecture.parts["unet"].in_channels
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
        controls = [control for entry in _behind(step, makers) for control in _behind(entry, makers)]
        if all(control.op != "control" for control in controls):
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


def _behind(step: Step, makers: Mapping[str, Step]) -> list[Step]:
    return [makers[name] for name in step.refs()]


def _check_controls(
    steps: Iterable[Step], networks: Mapping[str, ResolvedNetwork], model: ResolvedNetwork
) -> None:
    for step in steps:
        if step.op == "control":
            control = networks[step.networks["controlnet"]]
            require_fit(control.config, model.config, base_file(control.use.weights).name)
