"""The driver: records, order, logs, dumps, and how it catches passes that do not keep their word."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.options import CompileOptions
from compiler.passes.driver import Change, Context, Pass, PassFunction, PassResult, run_graph_passes, run_program_passes
from compiler.passes.prune_steps import prune_steps
from compiler.passes.verify import verify_program
from compiler.pipeline import GRAPH_PASSES, PROGRAM_PASSES, optimise_graph, optimise_program
from graphs.errors import PassError, UsageError
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.operands import Literal, Param, Ref
from graphs.ops import OPS
from graphs.program import Program
from graphs.schemas import builtin
from tests.compiler.interpreter import Machine
from tests.compiler.programs import network, step, text_to_image


def quiet(program: Program, context: Context) -> PassResult[Program]:
    return PassResult(program)


def run(*passes: PassFunction[Program]) -> None:
    run_program_passes(text_to_image(), [Pass(p) for p in passes], Context())


def test_records_say_what_each_pass_did(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG, "compiler.passes.driver")
    extra = step("scale_image", {"image": Literal(0), "method": Literal(0), "factor": Literal(1)}, "77.image")
    program = text_to_image()
    program = program.with_steps((*program.steps, extra))
    after, records = run_program_passes(program, [Pass(quiet), Pass(prune_steps)], Context(), tmp_path / "dump")
    assert after == text_to_image()
    assert [(r.name, r.phase, len(r.changes)) for r in records] == [
        ("quiet", "program", 0),
        ("prune_steps", "program", 1),
    ]
    assert records[1].changes == (("77.scale_image", "no step uses what it makes"),)
    assert all(r.seconds >= 0 for r in records)
    infos = [r.message for r in caplog.records if r.levelno == logging.INFO]
    assert [m.partition(" in ")[0] for m in infos] == [
        "program pass quiet: 0 changes",
        "program pass prune_steps: 1 changes",
    ]
    dumped = sorted(path.name for path in (tmp_path / "dump").iterdir())
    assert dumped == ["program_01_quiet.txt", "program_02_prune_steps.txt"]
    text = (tmp_path / "dump" / dumped[1]).read_text("utf-8")
    assert text.startswith(
        "# 77.scale_image: no step uses what it makes\nnetwork clip: clip_l of sd15.safetensors\n"
    )
    assert "3.latent, 3.denoised = sample(latent=%5.latent, noise=%3.noise" in text


def test_a_pass_that_breaks_an_invariant_is_named_with_what_ran_before() -> None:
    def lose_a_step(program: Program, context: Context) -> PassResult[Program]:
        return PassResult(program.with_steps(program.steps[1:]), (Change("x", "y"),))

    with pytest.raises(PassError) as error:
        run(quiet, lose_a_step)
    assert "pass 'lose_a_step' (after quiet)" in str(error.value)
    assert "step 3.entry uses '6.embedding' before a step makes it" in str(error.value)


def test_claims_are_checked() -> None:
    def silent(program: Program, context: Context) -> PassResult[Program]:
        return PassResult(program.with_steps(program.steps))

    def boasting(program: Program, context: Context) -> PassResult[Program]:
        return PassResult(program, (Change("x", "y"),))

    with pytest.raises(PassError, match="changed its input without saying so"):
        run(silent)
    with pytest.raises(PassError, match="lists changes but returns its input"):
        run(boasting)


def test_a_crash_keeps_its_type_and_says_where() -> None:
    def crash(program: Program, context: Context) -> PassResult[Program]:
        raise ZeroDivisionError("oh")

    with pytest.raises(ZeroDivisionError) as error:
        run(quiet, crash)
    assert error.value.__notes__ == ["in pass 'crash' (after quiet)"]


def test_effects_and_parameters_are_guarded() -> None:
    def lose_the_save(program: Program, context: Context) -> PassResult[Program]:
        return PassResult(program.with_steps(program.steps[:-1]), (Change("9", "y"),))

    def change_a_default(program: Program, context: Context) -> PassResult[Program]:
        seed = replace(program.parameters["3.seed"], default=2)
        return PassResult(replace(program, parameters={**program.parameters, "3.seed": seed}), (Change("3", "y"),))

    with pytest.raises(PassError, match=r"steps with effects were 9\.save_image, now they are none"):
        run(lose_the_save)
    with pytest.raises(PassError, match=r"parameter '3\.seed' was made up or changed"):
        run(change_a_default)


def test_graph_invariants() -> None:
    graph = Graph([Node("1", "EmptyLatentImage", {}), Node("2", "SaveLatent", {"samples": Link("1", 0)})])

    def dangling(graph: Graph, context: Context) -> PassResult[Graph]:
        return PassResult(graph.replaced([graph["2"]]), (Change("1", "y"),))

    def lose_output(graph: Graph, context: Context) -> PassResult[Graph]:
        return PassResult(graph.replaced([graph["1"]]), (Change("2", "y"),))

    def make_up(graph: Graph, context: Context) -> PassResult[Graph]:
        return PassResult(graph.replaced([*graph, Node("3", "Note", {})]), (Change("3", "y"),))

    for function, words in (
        (dangling, "node 2, input 'samples' links to node 1, which was removed"),
        (lose_output, "output node 2 was removed"),
        (make_up, "node 3 was made up"),
    ):
        with pytest.raises(PassError, match=words):
            run_graph_passes(graph, [Pass(function)], Context(schemas=builtin()))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"op": "nope"}, "there is no op 'nope'"),
        ({"outputs": ()}, "has 0 outputs, its op sample has 2"),
        ({"outputs": ("6.embedding",)}, "which another step makes too"),
        ({"id": "6.encode_text"}, "two steps have the id"),
        ({"inputs": {}}, "input 'latent' of op sample is missing"),
        ({"inputs": {"sides.positive": Literal(0)}}, "op sample has no input 'sides.positive'"),
        ({"model": "gone"}, "there is no model 'gone'"),
        ({"networks": {"unet": "gone"}}, "there is no network 'gone'"),
        ({"networks": {"clip": "clip"}}, "op sample calls no network 'clip'"),
        ({"frees": ("8.image",)}, "frees '8.image', which is not there"),
        ({"frees": ("3.latent",)}, "uses '3.latent' after it is freed"),
        ({"folded": {"x": "k"}}, "folds 'x', which is not its output"),
        ({"folded_when": ("x",)}, "is folded for the parameter 'x'"),
    ],
)
def test_program_invariants(broken: dict[str, object], words: str) -> None:
    program = text_to_image()
    steps = tuple(replace(s, **broken) if s.id == "3.sample" else s for s in program.steps)  # type: ignore[arg-type]
    assert any(words in problem for problem in verify_program(program.with_steps(steps), OPS))


def test_more_program_invariants() -> None:
    program = text_to_image()
    assert list(verify_program(program, OPS)) == []
    misfiled = replace(program, networks={**program.networks, "b": network("a", "unet")}, parameters={})
    problems = list(verify_program(misfiled, OPS))
    lame = tuple(replace(s, networks={}) if s.op == "guide" else s for s in program.steps)
    assert any("network 'denoiser' of op guide is missing" in p for p in verify_program(program.with_steps(lame), OPS))
    assert "network 'a' is filed under 'b'" in problems
    assert any("takes the parameter '6.text', which is not declared" in p for p in problems)
    extra = step("image_to_u8", {"image": Ref("8.image"), "colour": Param("6.text")}, "x.image_u8")
    problems = list(verify_program(program.with_steps((*program.steps, extra)), OPS))
    assert problems == ["step x.image_to_u8: op image_to_u8 has no input 'colour'"]


def test_level_0_runs_the_required_passes_only() -> None:
    program = text_to_image()
    context = Context(options=CompileOptions(level=0, freeze=("3.seed",)))
    after, records = optimise_program(program, context)
    assert [r.name for r in records] == [p.name for p in PROGRAM_PASSES if p.required] == ["freeze", "share_networks"]
    assert "3.seed" not in after.parameters
    assert len(after.steps) == len(program.steps)


def test_the_whole_pipeline_on_the_default_workflow() -> None:
    machine = Machine()
    context = Context(folder=machine.fold)
    after, records = optimise_program(text_to_image(), context)
    assert [r.name for r in records] == [p.name for p in PROGRAM_PASSES]
    assert set(after.networks) == {"clip", "unet_core", "unet_context", "unet_time", "vae_decoder_u8"}
    assert sum(bool(s.folded) for s in after.steps) == 6
    assert machine.run(after, {"6.text": "new"}) == Machine().run(text_to_image(), {"6.text": "new"})
    again, records = optimise_program(after, context)
    assert again == after
    assert all(r.changes == () for r in records)


def test_frozen_names_must_exist() -> None:
    graph = Graph([Node("6", "CLIPTextEncode", {"text": "", "clip": Link("1", 1)})])
    context = Context(schemas=builtin(), options=CompileOptions(freeze=("6.txet",)))
    with pytest.raises(UsageError, match=r"did you mean '6\.text'"):
        optimise_graph(graph, context)
    with pytest.raises(UsageError, match="no such value to freeze"):
        optimise_graph(graph, replace(context, options=CompileOptions(freeze=("6.clip",))))


def test_graph_pipeline_is_idempotent() -> None:
    nodes = [
        Node("4", "CheckpointLoaderSimple", {"ckpt_name": "a"}),
        Node("14", "CheckpointLoaderSimple", {"ckpt_name": "a"}),
        Node("20", "Reroute", {"": Link("14", 2)}),
        Node("5", "EmptyLatentImage", {"width": 8, "height": 8, "batch_size": 1}),
        Node("8", "VAEDecode", {"samples": Link("5", 0), "vae": Link("20", 0)}),
        Node("9", "PreviewImage", {"images": Link("8", 0)}),
    ]
    graph = Graph(nodes, dissolved=[("30", "Note", "a note")])
    context = Context(schemas=builtin())
    after, records = optimise_graph(graph, context)
    assert [n.id for n in after] == ["14", "5", "8", "9"]
    assert [r.name for r in records] == [p.name for p in GRAPH_PASSES]
    again, records = optimise_graph(after, context)
    assert again is after
    assert all(r.changes == () for r in records)
