"""Take out of the sampling loop what does not change in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.rewrite import Names, restructured
from graphs.operands import Operand, OperandTree, Ref
from graphs.program import NetworkUse, Program, Step

SAMPLE, ROLE, CONTROL_ROLE = "sample", "unet", "controlnet."
CONTEXT, TIME = "unet_context", "unet_time"  # roles, of the parts of a ControlNet as well
PROJECT, EMBED = "project_context", "embed_time"


@dataclass(frozen=True)
class Parts:
    """The kinds of network that a whole one is called in."""

    core: str
    context: str
    time: str


PARTS = {
    "unet": Parts("unet_core", CONTEXT, TIME),
    "unet_control": Parts("unet_core_control", CONTEXT, TIME),
    "controlnet": Parts("controlnet_core", "controlnet_context", "controlnet_time"),
}


def hoist(program: Program, context: Context) -> PassResult[Program]:
    """Take out of the sampling loop what does not change in it. For every `sample` that calls a whole "unet":

    1. The text keys and values of all cross-attentions depend on the embedding alone: a `project_context` before the
    sample makes them, one per distinct embedding, for both sides.
    2. The time embedding depends on the sigma alone: an `embed_time` makes a table for all sigmas of the schedule. The
    sample keeps the time network as well, because some samplers ask for sigmas between those of the schedule.
    3. The sample calls the rest, "unet_core", which takes both as inputs.
    4. The same for the sample's ControlNets, each of which has keys and values and time embeddings of its own.
    5. Samples that share an embedding, sigmas and weights share these steps.
    The arithmetic is the same, in the same order; only the place changes.
    """
    if not any(step.op == SAMPLE and _is_whole(program, step) for step in program.steps):
        return PassResult(program)
    hoister = _Hoister(program)
    changes: list[Change] = []
    for step in program.steps:
        if step.op != SAMPLE or not _is_whole(program, step):
            hoister.steps.append(step)
            continue
        before = len(hoister.steps)
        hoister.sample(step)
        made = ", ".join(s.id for s in hoister.steps[before:-1]) or "steps of an earlier sample"
        changes.append(Change(step.id, f"text keys and values and time embeddings come from {made}, outside the loop"))
    called = {network for step in hoister.steps for network in step.networks.values()}
    networks = {n: use for n, use in hoister.networks.items() if n in called or use.kind not in PARTS}
    return PassResult(replace(restructured(program, hoister.steps), networks=networks), tuple(changes))


class _Hoister:
    def __init__(self, program: Program) -> None:
        self.steps: list[Step] = []
        self.networks: dict[str, NetworkUse] = dict(program.networks)
        self._names = Names(program)
        self._contexts: dict[tuple[Operand, str], Ref] = {}
        self._times: dict[tuple[Operand, str], Ref] = {}

    def sample(self, step: Step) -> None:
        """Appends the step with what it needs before it."""
        core, context, time = self._parts(step.networks[ROLE])
        networks = {**step.networks, ROLE: core, TIME: time}
        inputs: dict[str, OperandTree] = dict(step.inputs)
        for side in ("positive", "negative"):
            inputs[f"{side}_context"] = tuple(self._context(o, context, step) for o in _flat(step.inputs[side]))
        (sigmas,) = _flat(step.inputs["sigmas"])
        inputs["time"] = self._time(sigmas, time, step)
        texts = (*_flat(step.inputs["positive"]), *_flat(step.inputs["negative"]))
        contexts: list[Operand] = []
        times: list[Operand] = []
        for index in range(len(_flat(step.inputs.get("control_hints", ())))):
            role = f"{CONTROL_ROLE}{index}"
            core, context, time = self._parts(step.networks[role])
            networks |= {role: core, f"controlnet_time.{index}": time}
            contexts += [self._context(text, context, step) for text in texts]
            times.append(self._time(sigmas, time, step))
        if times:
            inputs |= {"control_contexts": tuple(contexts), "control_times": tuple(times)}
        self.steps.append(replace(step, inputs=inputs, networks=networks))

    def _parts(self, network: str) -> tuple[str, str, str]:
        """The ids of core, context and time of a whole network."""
        whole = self.networks[network]
        parts = PARTS[whole.kind]
        core, context, time = (self._network(whole, kind) for kind in (parts.core, parts.context, parts.time))
        return core, context, time

    def _context(self, embedding: Operand, network: str, sample: Step) -> Ref:
        key = (embedding, network)
        if key not in self._contexts:
            inputs: dict[str, OperandTree] = {"embedding": embedding}
            self._contexts[key] = self._emit(PROJECT, "context", inputs, {CONTEXT: network}, sample)
        return self._contexts[key]

    def _time(self, sigmas: Operand, network: str, sample: Step) -> Ref:
        key = (sigmas, network)
        if key not in self._times:
            inputs: dict[str, OperandTree] = {"sigmas": sigmas}
            self._times[key] = self._emit(EMBED, "time", inputs, {TIME: network}, sample)
        return self._times[key]

    def _emit(
        self, op: str, output: str, inputs: dict[str, OperandTree], networks: dict[str, str], sample: Step
    ) -> Ref:
        owner = sample.id.removesuffix(f".{SAMPLE}")
        name = self._names.new(f"{owner}.{output}")
        step_id = self._names.new(f"{owner}.{op}")
        model = sample.model if op == EMBED else None
        self.steps.append(Step(step_id, op, inputs, {}, (name,), networks, sample.nodes, model=model))
        return Ref(name)

    def _network(self, whole: NetworkUse, kind: str) -> str:
        """The id of a part of the network: the same weights and options, another kind."""
        for network in self.networks.values():
            if (network.kind, network.weights, network.options) == (kind, whole.weights, whole.options):
                return network.id
        name = whole.id.replace(whole.kind, kind, 1) if whole.id.startswith(whole.kind) else f"{whole.id}.{kind}"
        part = replace(whole, id=self._names.new(name), kind=kind)
        self.networks[part.id] = part
        return part.id


def _is_whole(program: Program, step: Step) -> bool:
    network = program.networks.get(step.networks.get(ROLE, ""))
    return network is not None and network.kind in PARTS


def _flat(value: OperandTree) -> tuple[Operand, ...]:
    return value if isinstance(value, tuple) else (value,)
