"""Casts the networks of a program: each role that lower() named gets the network that plays it in the opened files.

Which that is, the parts of the file's family say (compiler.families.family.Part.networks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from compiler.families import Family, family_of_text
from compiler.families.parts import CONTROLNET, PARTS
from compiler.models.architecture import Architecture, detect
from compiler.models.checkpoint import Checkpoint, open_checkpoint
from compiler.models.control_file import detect_control
from compiler.networks import NETWORKS
from graphs.errors import CheckpointError
from graphs.operands import Ref
from graphs.program import NetworkUse, Program, Step
from graphs.roles import CONTROLLED, ROLES
from graphs.values import ModelFile, base_file

FindFile = Callable[[ModelFile], Path]

TEXT = "text"  # one network in this role may become several
IN_WORDS = {"denoiser": "denoiser (U-Net)", "decoder": "VAE decoder", "encoder": "VAE encoder"}


def architecture_of(checkpoint: Checkpoint, part: str) -> Architecture:
    """A ControlNet's file is recognised by rules of its own. Raises CheckpointError."""
    return detect_control(checkpoint) if part == CONTROLNET.name else detect(checkpoint)


def cast(program: Program, find: FindFile) -> Program:
    """The program with a kind of network in place of every role. Raises ModelMissingError, CheckpointError."""
    return _with_networks(_with_encoders(program, find), find)


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


# --- the others


def _with_networks(program: Program, find: FindFile) -> Program:
    makers = {name: step for step in program.steps for name in step.outputs}
    plain = {use.id: _played(use, _kind(use, find)) for use in program.networks.values()}
    networks: dict[str, NetworkUse] = {}
    steps: list[Step] = []
    for step in program.steps:
        roles = {role: plain[name] for role, name in step.networks.items()}
        if step.op == "guide" and controls_of(step, makers):
            roles["denoiser"] = _controlled(program.networks[step.networks["denoiser"]], roles["denoiser"])
        networks.update((use.id, use) for use in roles.values())
        steps.append(replace(step, networks={role: use.id for role, use in roles.items()}) if roles else step)
    return replace(program, steps=tuple(steps), networks=networks)


def controls_of(guide: Step, makers: Mapping[str, Step]) -> list[Step]:
    """The `control` steps of a guider's entries. makers: Ref name -> the step that makes it."""
    entries = (makers[name] for name in guide.refs())
    behind = (makers[operand.name] for entry in entries for operand in entry.operands() if isinstance(operand, Ref))
    return [step for step in behind if step.op == "control"]


def _kind(use: NetworkUse, find: FindFile) -> str:
    """The kind of network that plays the role of a use."""
    if use.kind not in ROLES:
        return use.kind
    file = base_file(use.weights)
    part = CONTROLNET.name if use.kind in CONTROLNET.networks else ""
    architecture = architecture_of(open_checkpoint(find(file)), part)
    for name in architecture.parts:
        if use.kind in PARTS[name].networks:
            return PARTS[name].networks[use.kind]
    what = f"the file holds no {IN_WORDS.get(use.kind, use.kind)}"
    raise CheckpointError(what, where=file.name, hint="use a full checkpoint, or the loader of that part")


def _played(use: NetworkUse, kind: str) -> NetworkUse:
    return use if use.kind == kind else replace(use, id=use.id.replace(use.kind, kind, 1), kind=kind)


def _controlled(role: NetworkUse, plain: NetworkUse) -> NetworkUse:
    """The form of a denoiser that takes the residuals of ControlNets."""
    if role.kind not in ROLES:
        return plain
    kind = NETWORKS[plain.kind].forms.get(CONTROLLED)
    if kind is None:
        where = base_file(plain.weights).name
        raise CheckpointError("ControlNets on this model are not compiled", where=where, hint="remove the ControlNet")
    return _played(role, kind)
