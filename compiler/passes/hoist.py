"""Take out of the sampling loop what does not change in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from compiler.passes.driver import Change, Context, PassResult
from compiler.passes.forms import forms_of
from compiler.passes.rewrite import Names, restructured
from graphs.operands import Operand, OperandTree, Ref
from graphs.program import NetworkUse, Program, Step
from graphs.roles import CONTEXT, CORE, TIME

SAMPLE, GUIDE, ENTRY, CONTROL = "sample", "guide", "entry", "control"
SIDES = "sides."
PROJECT, EMBED = "project_context", "embed_time"
# The role in which a step calls the network that is taken apart; f"{role}_time" is that of its time embedding.
ROLE = {GUIDE: "denoiser", CONTROL: "controlnet"}
PARTS = (CORE, CONTEXT, TIME)


def hoist(program: Program, context: Context) -> PassResult[Program]:
    """Take out of the sampling loop what does not change in it. For every `sample` whose guider calls a whole denoiser
    that comes apart (forms_of):

    1. The text keys and values of all cross-attentions depend on the embedding alone: a `project_context` makes them,
    one per distinct embedding.
    2. The time embedding depends on the sigma and the vector condition: an `embed_time` makes a table for all sigmas of
    the schedule. The guider keeps the time network as well, because some samplers ask for sigmas between those.
    3. The entries take these in place of the embedding, and the guider calls the rest of the network.
    4. The same for ControlNets, each of which has keys and values and time embeddings of its own.
    5. Guiders, entries and ControlNets are made again for each schedule, right before its first sample; those that no
    other step uses are removed. Samples that share a guider and sigmas share all of it.
    The arithmetic is the same, in the same order; only the place changes.
    """
    hoister = _Hoister(program)
    changes: list[Change] = []
    for step in program.steps:
        if step.id in hoister.left_behind:
            continue
        if step.id not in hoister.samples:
            hoister.steps.append(step)
            continue
        before = len(hoister.steps)
        hoister.sample(step)
        made = ", ".join(s.id for s in hoister.steps[before:] if s.op in (PROJECT, EMBED)) or "an earlier one's steps"
        changes.append(Change(step.id, f"text keys and values and time embeddings come from {made}, outside the loop"))
    if not changes:
        return PassResult(program)
    called = {network for step in hoister.steps for network in step.networks.values()}
    networks = {n: use for n, use in hoister.networks.items() if n in called or not _comes_apart(use)}
    return PassResult(replace(restructured(program, hoister.steps), networks=networks), tuple(changes))


class _Hoister:
    """samples: ids of the steps to work on. left_behind: ids of steps that only they use, in their old form."""

    def __init__(self, program: Program) -> None:
        self.steps: list[Step] = []
        self.networks: dict[str, NetworkUse] = dict(program.networks)
        self._names = Names(program)
        self._makers = {name: step for step in program.steps for name in step.outputs}
        self._made: dict[tuple[object, ...], tuple[Operand, ...]] = {}
        self.samples = {step.id for step in program.steps if self._can_take_apart(step)}
        self.left_behind = self._left_behind(program)
        self._free_ids = set(self.left_behind)  # of steps that are left behind, until they are made again

    def _can_take_apart(self, step: Step) -> bool:
        """Whether it is a sample whose guider is whole, with all that it is made of."""
        if step.op != SAMPLE or (guide := self._maker(step.inputs["guider"], GUIDE)) is None:
            return False
        entries = [self._maker(operand, ENTRY) for operand in _entries(guide)]
        if not self._is_whole(guide) or not entries:
            return False
        controls = [self._maker(o, CONTROL) for e in entries if e is not None for o in _controls(e)]
        return all(e is not None and "embedding" in e.inputs for e in entries) and all(
            c is not None and "embedding" in c.inputs and self._is_whole(c) for c in controls
        )

    def _left_behind(self, program: Program) -> set[str]:
        found = set(self.samples)
        for makes, takes in ((GUIDE, _guider), (ENTRY, _entries), (CONTROL, _controls)):
            used_otherwise = {
                operand.name
                for step in program.steps
                for operand, meant in _uses(step, takes)
                if isinstance(operand, Ref) and not (meant and step.id in found)
            }
            used = {o.name for step in program.steps if step.id in found for o in takes(step) if isinstance(o, Ref)}
            found |= {
                self._makers[name].id
                for name in used - used_otherwise
                if name in self._makers and self._makers[name].op == makes
            }
        return found - self.samples

    def sample(self, step: Step) -> None:
        """Appends the step with what it needs before it."""
        (sigmas,) = _flat(step.inputs["sigmas"])
        guider = self._guide(self._known(step.inputs["guider"]), sigmas)
        self.steps.append(replace(step, inputs={**step.inputs, "guider": guider}))

    def _guide(self, guide: Step, sigmas: Operand) -> Ref:
        core, context, time = self._parts(guide.networks[ROLE[GUIDE]])
        inputs: dict[str, OperandTree] = dict(guide.inputs)
        for name in (name for name in guide.inputs if name.startswith(SIDES)):
            inputs[name] = tuple(
                self._entry(self._known(operand), sigmas, context, time, guide) for operand in _flat(guide.inputs[name])
            )
        networks = {**guide.networks, ROLE[GUIDE]: core, f"{ROLE[GUIDE]}_time": time}
        return self._again(guide, sigmas, replace(guide, inputs=inputs, networks=networks))

    def _entry(self, entry: Step, sigmas: Operand, context: str, time: str, guide: Step) -> Ref:
        inputs = self._conditioned(entry, sigmas, context, time, guide)
        if "controls" in entry.inputs:
            inputs["controls"] = tuple(
                self._control(self._known(operand), sigmas, guide) for operand in _flat(entry.inputs["controls"])
            )
        return self._again(entry, (sigmas, context, time), replace(entry, inputs=inputs))

    def _control(self, control: Step, sigmas: Operand, guide: Step) -> Ref:
        core, context, time = self._parts(control.networks[ROLE[CONTROL]])
        inputs = self._conditioned(control, sigmas, context, time, guide)
        networks = {**control.networks, ROLE[CONTROL]: core, f"{ROLE[CONTROL]}_time": time}
        return self._again(control, sigmas, replace(control, inputs=inputs, networks=networks))

    def _conditioned(
        self, step: Step, sigmas: Operand, context: str, time: str, guide: Step
    ) -> dict[str, OperandTree]:
        """The inputs of an entry or control, keys and values and time embeddings in place of the embedding."""
        inputs = {name: value for name, value in step.inputs.items() if name != "embedding"}
        embedding, vector = step.inputs["embedding"], step.inputs.get("vector")
        (inputs["context_kv"],) = self._emit(
            PROJECT, ("context",), {"embedding": embedding}, {"context": context}, guide
        )
        times: dict[str, OperandTree] = {"sigmas": sigmas, **({} if vector is None else {"vector": vector})}
        inputs["time"] = self._emit(EMBED, ("timesteps", "time"), times, {"time": time}, guide)
        return inputs

    def _emit(
        self, op: str, outputs: tuple[str, ...], inputs: dict[str, OperandTree], networks: dict[str, str], guide: Step
    ) -> tuple[Operand, ...]:
        """A step, once for equal inputs and networks."""
        model = guide.model if op == EMBED else None
        key = (op, *inputs.values(), *networks.values(), model)
        if key not in self._made:
            owner = guide.id.partition(".")[0]
            names = tuple(self._names.value(f"{owner}.{output}") for output in outputs)
            step_id = self._names.step(f"{owner}.{op}")
            self.steps.append(Step(step_id, op, inputs, {}, names, networks, guide.nodes, model=model))
            self._made[key] = tuple(Ref(name) for name in names)
        return self._made[key]

    def _again(self, old: Step, reason: object, new: Step) -> Ref:
        """The step in its new form, once for each reason; the first time under its old names if it is left behind."""
        key = (old.id, reason)
        if key not in self._made:
            if old.id in self._free_ids:
                self._free_ids.remove(old.id)
            else:
                outputs = tuple(self._names.value(name) for name in new.outputs)
                new = replace(new, id=self._names.step(new.id), outputs=outputs)
            self.steps.append(new)
            self._made[key] = tuple(Ref(name) for name in new.outputs)
        (ref,) = self._made[key]
        assert isinstance(ref, Ref)
        return ref

    def _parts(self, network: str) -> tuple[str, str, str]:
        """The ids of core, context and time of a whole network."""
        whole = self.networks[network]
        core, context, time = (self._network(whole, forms_of(whole.kind)[form]) for form in PARTS)
        return core, context, time

    def _network(self, whole: NetworkUse, kind: str) -> str:
        """The id of a part of the network: the same weights and options, another kind."""
        for network in self.networks.values():
            if (network.kind, network.weights, network.options) == (kind, whole.weights, whole.options):
                return network.id
        name = whole.id.replace(whole.kind, kind, 1) if whole.id.startswith(whole.kind) else f"{whole.id}.{kind}"
        part = replace(whole, id=self._names.network(name), kind=kind)
        self.networks[part.id] = part
        return part.id

    def _maker(self, operand: OperandTree, op: str) -> Step | None:
        """The step of that op that makes an operand."""
        step = self._makers.get(operand.name) if isinstance(operand, Ref) else None
        return step if step is not None and step.op == op else None

    def _known(self, operand: OperandTree) -> Step:
        assert isinstance(operand, Ref)
        return self._makers[operand.name]

    def _is_whole(self, step: Step) -> bool:
        network = self.networks.get(step.networks.get(ROLE[step.op], ""))
        return network is not None and _comes_apart(network)


def _comes_apart(network: NetworkUse) -> bool:
    """Whether it is whole, and can be called in parts."""
    return forms_of(network.kind).keys() >= set(PARTS)


def _guider(step: Step) -> tuple[Operand, ...]:
    return _flat(step.inputs["guider"]) if step.op == SAMPLE else ()


def _entries(step: Step) -> tuple[Operand, ...]:
    if step.op != GUIDE:
        return ()
    return tuple(o for name, value in step.inputs.items() if name.startswith(SIDES) for o in _flat(value))


def _controls(step: Step) -> tuple[Operand, ...]:
    return _flat(step.inputs.get("controls", ())) if step.op == ENTRY else ()


def _uses(step: Step, takes: Callable[[Step], tuple[Operand, ...]]) -> Iterator[tuple[Operand, bool]]:
    """Every operand of a step, and whether it is taken in that way alone."""
    meant = takes(step)
    for operand in step.operands():
        yield operand, operand in meant and step.operands().count(operand) == meant.count(operand)


def _flat(value: OperandTree) -> tuple[Operand, ...]:
    return value if isinstance(value, tuple) else (value,)
