"""A tiny interpreter of programs for tests: every op is a hash of its inputs, so equal outputs mean equal computation.

It knows what fused and hoisted ops stand for (an 8-bit decode is a decode and a conversion), honours `folded` and
`frees`, and is not known to any pass.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from compiler.passes.share_networks import without_idle_loras
from graphs.operands import Const, Literal, Operand, OperandTree, Param, Ref
from graphs.ops import OPS, OpSpec
from graphs.program import Program, Step

Value = Any


def digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


@dataclass
class Machine:
    """constants: what folding stored. missing: ops whose second output is None (text encoders without a pooled one)."""

    ops: Mapping[str, OpSpec] = field(default_factory=lambda: OPS)
    constants: dict[str, Value] = field(default_factory=dict)
    missing: frozenset[str] = frozenset({"encode_text"})
    ran: list[str] = field(default_factory=list)

    def run(self, program: Program, params: Mapping[str, Value] | None = None) -> list[tuple[str, Value]]:
        """(step id, value) of every step with effects, in order."""
        return self._execute(program, params or {}, ())[0]

    def fold(self, program: Program, wanted: Mapping[str, str]) -> Mapping[str, str | None]:
        """compiler.passes.driver.Folder."""
        values = self._execute(program.with_steps(_pure_prefix(program, self.ops, wanted)), {}, wanted)[1]
        self.constants.update((key, values[name]) for name, key in wanted.items() if values[name] is not None)
        return {name: key if values[name] is not None else None for name, key in wanted.items()}

    def _execute(
        self, program: Program, params: Mapping[str, Value], keep: Collection[str]
    ) -> tuple[list[tuple[str, Value]], dict[str, Value]]:
        given = {name: params.get(name, p.default) for name, p in program.parameters.items()}
        values: dict[str, Value] = {}
        effects = []
        for step in program.steps:
            if step.folded and all(given[n] == program.parameters[n].default for n in step.folded_when):
                values.update((name, self.constants[key]) for name, key in step.folded.items())
            else:
                self.ran.append(step.id)
                results = self._compute(program, step, given, values)
                values.update(zip(step.outputs, results, strict=True))
                if not self.ops[step.op].pure:
                    effects.append((step.id, results[0]))
            for name in step.frees:
                if name not in keep:
                    values.pop(name, None)
        return effects, values

    def _compute(
        self, program: Program, step: Step, given: Mapping[str, Value], values: Mapping[str, Value]
    ) -> tuple[Value, ...]:
        def one(operand: Operand) -> Value:
            match operand:
                case Ref(name):
                    return values[name]
                case Param(name):
                    return given[name]
                case Const(key):
                    return self.constants[key]
                case Literal(value):
                    return json.dumps(value) if not isinstance(value, str | int | float | bool | None) else value

        def tree(value: OperandTree) -> Value:
            return tuple(one(o) for o in value) if isinstance(value, tuple) else one(value)

        inputs = {name: tree(value) for name, value in step.inputs.items()}
        networks = {role: _network(program, network) for role, network in step.networks.items()}
        if step.op == "identity":
            return (inputs["value"],)  # whatever it is, a missing value included
        attrs = {k: v for k, v in step.attrs.items() if k != "guidance"}
        model = _model(program, step)
        meant = _meaning(step.op, inputs, networks, model, json.dumps(attrs, sort_keys=True))
        if meant is not None:
            return meant if isinstance(meant, tuple) else (meant,)
        whole = digest(
            step.op, sorted(inputs.items()), sorted(networks.items()), model, json.dumps(attrs, sort_keys=True)
        )
        first = (digest(whole, 0),)
        rest = (None if step.op in self.missing else digest(whole, i) for i in range(1, len(step.outputs)))
        return (*first, *rest)


@dataclass(frozen=True)
class Made:
    """An entry, ControlNet or guider: what it stands for depends on the sample that takes it."""

    op: str
    inputs: tuple[tuple[str, Value], ...]
    networks: tuple[tuple[str, str], ...]
    model: str
    attrs: str


def _meaning(op: str, inputs: Mapping[str, Value], networks: Mapping[str, str], model: str, attrs: str) -> Value | None:
    """What ops mean that passes make out of others."""
    if op == "image_to_u8":
        return digest("u8", inputs["image"])
    if op == "decode_latent":
        return digest("decode", inputs["latent"], networks["vae_decoder"])
    if op == "decode_latent_u8":
        return digest("u8", digest("decode", inputs["latent"], networks["vae_decoder_u8"]))
    if op == "project_context":
        return digest("context", inputs["embedding"], networks["context"])
    if op == "embed_time":
        return _times(inputs["sigmas"], inputs.get("vector"), networks["time"], model)
    if op in ("entry", "control", "guide"):
        return Made(op, tuple(sorted(inputs.items())), tuple(sorted(networks.items())), model, attrs)
    if op == "sample":
        rest = sorted((name, value) for name, value in inputs.items() if name != "guider")
        sampled = digest("sample", rest, _guided(inputs["guider"], inputs["sigmas"]))
        return sampled, digest("denoised", sampled)
    return None


def _times(sigmas: Value, vector: Value, weights: str, model: str) -> tuple[str, str]:
    return digest("timesteps", sigmas, vector, weights, model), digest("time", sigmas, vector, weights, model)


def _guided(guider: Value, sigmas: Value) -> Value:
    """A guider over a schedule, whether texts and times are hoisted or not."""
    if not isinstance(guider, Made) or guider.op != "guide":
        return guider
    weights = dict(guider.networks)["denoiser"]
    inputs = [
        (name, [_conditioned(one, sigmas, weights, guider.model) for one in value] if "sides." in name else value)
        for name, value in guider.inputs
    ]
    return digest("guide", inputs, weights, guider.model, guider.attrs)


def _conditioned(made: Value, sigmas: Value, weights: str, model: str) -> Value:
    """An entry, or one of its ControlNets, which has weights of its own."""
    if not isinstance(made, Made) or made.op == "guide":
        return made
    networks = dict(made.networks)
    weights = networks.get("controlnet", weights)
    inputs = dict(made.inputs)
    embedding, context, times = (inputs.pop(name, None) for name in ("embedding", "context_kv", "time"))
    if context is None:
        context, times = digest("context", embedding, weights), _times(sigmas, inputs.get("vector"), weights, model)
    controls = [_conditioned(one, sigmas, weights, model) for one in inputs.pop("controls", ())]
    hint = networks.get("controlnet_hint")
    return digest(made.op, context, times, sorted(inputs.items()), controls, hint, made.attrs)


def _model(program: Program, step: Step) -> str:
    """Facts say what a model is; before its file is open, its name."""
    if step.model is None:
        return ""
    facts = program.models[step.model].facts
    return json.dumps(dict(facts), sort_keys=True) if facts else step.model


def _network(program: Program, network_id: str) -> str:
    network = program.networks[network_id]
    return digest(without_idle_loras(network.weights), json.dumps(dict(network.options), sort_keys=True))


def _pure_prefix(program: Program, ops: Mapping[str, OpSpec], wanted: Collection[str]) -> tuple[Step, ...]:
    """The steps that the wanted values need."""
    needed = set(wanted)
    kept = []
    for step in reversed(program.steps):
        if not needed.isdisjoint(step.outputs):
            assert ops[step.op].pure
            needed.update(step.refs())
            kept.append(step)
    return tuple(reversed(kept))
