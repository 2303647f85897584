"""Random workflows and programs: every pass, and the whole pipeline, leaves what they compute unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.options import CompileOptions
from compiler.passes.driver import Context, Pass, run_program_passes
from compiler.passes.verify import verify_program_step
from compiler.pipeline import PROGRAM_PASSES, optimise_program
from graphs.operands import Const, Literal, Operand, Param, Ref
from graphs.ops import OPS, OpSpec
from graphs.program import ModelUse, NetworkUse, Parameter, Program, Step
from tests.compiler.interpreter import Machine
from tests.compiler.programs import SD15, lora

Json = Any
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- programs over the real ops -------------------------------------------------------------------------------------


@st.composite
def programs(draw: st.DrawFn, ops: Mapping[str, OpSpec] = OPS) -> Program:
    """Steps of all ops, with operands of every kind; the kinds of values do not matter to a hash."""
    recipes = [
        SD15,
        lora(SD15, "a", 0.5),
        lora(lora(SD15, "a", 0.25), "a", 0.25),
        lora(lora(SD15, "b", 1.0), "b", -1.0),
    ]
    kinds = sorted({kind_of(role) for spec in ops.values() for role in spec.networks})
    networks: dict[str, NetworkUse] = {}
    for i in range(draw(st.integers(len(kinds), len(kinds) + 4))):
        kind = kinds[i] if i < len(kinds) else draw(st.sampled_from(kinds))
        use = NetworkUse(
            f"{kind}{i}", kind, draw(st.sampled_from(recipes)), draw(st.sampled_from([{}, {"stop_layer": -2}]))
        )
        networks[use.id] = use
    parameters = {f"p{i}": Parameter(f"p{i}", "INT", draw(st.integers(0, 1))) for i in range(3)}
    models = {name: ModelUse(name, SD15, facts=facts) for name, facts in MODELS.items()}
    refs: list[str] = []
    steps: list[Step] = []

    def operand() -> Operand:
        kind = draw(st.sampled_from(["ref", "ref", "ref", "param", "literal"]))
        if kind == "ref" and refs:
            return Ref(draw(st.sampled_from(refs[-6:])))
        return Param(draw(st.sampled_from(sorted(parameters)))) if kind == "param" else Literal(draw(st.integers(0, 1)))

    def made_by(op: str) -> Operand:
        """What a step of that op made, mostly."""
        found = [step.outputs[0] for step in steps if step.op == op]
        return Ref(draw(st.sampled_from(found))) if found and draw(st.integers(0, 5)) > 0 else operand()

    def several(op: str) -> tuple[Operand, ...]:
        return tuple(made_by(op) for _ in range(draw(st.integers(1, 2))))

    def inputs_of(op: str) -> dict[str, Any]:
        """Those with a meaning of their own."""
        if op == "guide":
            return {"sides.positive": several("entry"), "sides.negative": several("entry"), "numbers.cfg": operand()}
        if op not in ("entry", "control"):
            return {"guider": made_by("guide")} if op == "sample" else {}
        found: dict[str, Any] = {"embedding": operand()}
        if draw(st.integers(0, 3)) == 0:
            found["vector"] = operand()
        if op == "entry" and draw(st.integers(0, 3)) == 0:
            found["place"] = made_by("place")
        return {**found, "controls": several("control")} if op == "entry" and draw(st.booleans()) else found

    usual = [name for name in ops if name not in ("project_context", "embed_time", "decode_latent_u8")]
    clusters: list[tuple[str, ...]] = [(name,) for name in usual]
    if "sample" in ops:  # what takes each other's outputs comes together, or would hardly ever
        clusters += [SAMPLING, SAMPLING[1:], ("guide", "sample"), ("sample",)] * (len(usual) // 8)
    picked = [draw(st.sampled_from(clusters)) for _ in range(draw(st.integers(1, 10)))]
    names = [name for cluster in picked for name in cluster]
    for i, name in enumerate(names):
        spec = ops[name]
        inputs: dict[str, Any] = {name: operand() for name in spec.inputs} | inputs_of(spec.name)
        if spec.name == "place" and draw(st.booleans()):
            inputs["area"] = tuple(operand() for _ in range(4))
        roles = {
            role: draw(st.sampled_from([n.id for n in networks.values() if n.kind == kind_of(role)]))
            for role in spec.networks
        }
        outputs = tuple(f"{i}.{name}" for name in spec.outputs)
        model = draw(st.sampled_from(sorted(models))) if spec.name in ("make_sigmas", "make_noise", "guide") else None
        steps.append(Step(f"{i}.{spec.name}", spec.name, inputs, {}, outputs, roles, (str(i),), model=model))
        refs.extend(outputs)
        if draw(st.booleans()) and refs:
            out = draw(st.sampled_from(refs[-4:]))
            saved: dict[str, Any] = {"image_u8": Ref(out), "filename_prefix": Literal("x")}
            steps.append(Step(f"{i}.save", "save_image", saved, {}, (f"{i}.saved",), {}, (f"{i}",)))
    return Program(tuple(steps), parameters, networks, models)


MODELS: dict[str, dict[str, Json]] = {
    "m0": {"prediction": "eps"}, "m1": {"prediction": "eps"}, "m2": {"prediction": "v"},
}  # fmt: skip
SAMPLING = ("control", "entry", "entry", "guide", "sample")
ROLES = {"denoiser": "unet", "context": "unet_context", "time": "unet_time"}


def kind_of(role: str) -> str:
    """The kind of network that fills a role of an unoptimised program."""
    return ROLES.get(role, role)


@QUICK
@given(programs(), st.data())
def test_program_passes_keep_the_effects(program: Program, data: st.DataObject) -> None:
    frozen = data.draw(st.sets(st.sampled_from(sorted(program.parameters))))
    machine = Machine()
    context = Context(options=CompileOptions(freeze=tuple(frozen)), folder=machine.fold)
    after, _ = optimise_program(program, context)
    for _ in range(3):
        values = {name: data.draw(st.integers(0, 2)) for name in program.parameters if name not in frozen}
        assert machine.run(after, values) == Machine().run(program, values)
    again, records = optimise_program(after, context)
    assert again == after
    assert [r.name for r in records if r.changes] == []


@QUICK
@given(programs(), st.data())
def test_each_program_pass_alone_keeps_the_effects(program: Program, data: st.DataObject) -> None:
    machine = Machine()
    context = Context(options=CompileOptions(freeze=("p0",)), folder=machine.fold)
    expected = Machine().run(program)
    values = {name: data.draw(st.integers(0, 2)) for name in ("p1", "p2")}
    changed = Machine().run(program, values)
    for stage in PROGRAM_PASSES:
        after, _ = run_program_passes(program, [stage], context)
        assert list(verify_program_step(program, after, OPS)) == []
        assert machine.run(after) == expected, stage.name
        assert machine.run(after, values) == changed, stage.name
        assert stage.run(after, context).changes == (), stage.name


@QUICK
@given(programs(), st.permutations(PROGRAM_PASSES), st.integers(1, len(PROGRAM_PASSES)))
def test_passes_in_any_order_keep_the_effects(program: Program, passes: list[Pass[Program]], count: int) -> None:
    machine = Machine()
    after, _ = run_program_passes(program, passes[:count], Context(folder=machine.fold))
    assert machine.run(after) == Machine().run(program)
    assert machine.run(after, {"p0": 5, "p1": 6}) == Machine().run(program, {"p0": 5, "p1": 6})


# --- programs over a made-up op set: passes know no op by heart that they need not ------------------------------------

TOY = {
    spec.name: spec
    for spec in (
        OpSpec("zero", (), ("value",), foldable=True),
        OpSpec("plus", ("x", "y"), ("value",), foldable=True),
        OpSpec("split", ("x",), ("high", "low"), foldable=True),
        OpSpec("slow", ("x",), ("value",)),
        OpSpec("call", ("x",), ("value",), ("net",), foldable=True),
        OpSpec("call_several", ("x",), ("value",), ("net",), optional_networks=("part",), foldable=True),
        OpSpec("read", ("x",), ("value",), pure=False),
        OpSpec("save_image", ("image_u8", "filename_prefix"), ("files",), pure=False),
        OpSpec("identity", ("value",), ("value",)),
    )
}


@QUICK
@given(programs(ops=TOY), st.data())
def test_passes_work_on_another_op_set(program: Program, data: st.DataObject) -> None:
    machine = Machine(ops=TOY)
    sizes = {name: data.draw(st.integers(0, 9)) for step in program.steps for name in step.outputs}
    context = Context(ops=TOY, folder=machine.fold, sizes=lambda p: sizes)
    after, _ = optimise_program(program, context)
    for values in ({}, {"p0": 2}, {"p1": 2, "p2": 2}):
        assert machine.run(after, values) == Machine(ops=TOY).run(program, values)
    assert optimise_program(after, context)[0] == after
    assert {o.key for s in after.steps for o in s.operands() if isinstance(o, Const)} <= machine.constants.keys()
