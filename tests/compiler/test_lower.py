"""Graphs and the programs they lower to, as JSON files in lowering/: {"prompt": API form, "program": ...}.

After a wanted change: UPDATE_LOWERING=1 pytest tests/compiler/test_lower.py, and read the difference.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from compiler.lowering.lower import lower
from graphs.definition import Builder, NodeDef
from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.json_form import to_json
from graphs.node import Input, Link, Node, Output
from graphs.nodes import NODES
from graphs.operands import Literal, Param
from graphs.program import Program
from graphs.values import Lora, ModelFile
from graphs.workflow import parse_api

CASES = sorted((Path(__file__).parent / "lowering").glob("*.json"))


def readable(program: Program) -> dict[str, Any]:
    """The program as JSON, less what is the same everywhere: empty fields of steps, and options of parameters."""
    whole: dict[str, Any] = to_json(program)
    document = {name: whole[name] for name in ("parameters", "networks", "models", "steps")}
    document["steps"] = [{name: v for name, v in step.items() if v not in ({}, [], None)} for step in document["steps"]]
    for parameter in document["parameters"].values():
        options = parameter.pop("options")
        parameter["choices"] = None if options is None else len(options)
    return document


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_snapshots(case: Path) -> None:
    recorded = json.loads(case.read_text())
    program = readable(lower(parse_api(recorded["prompt"])))
    if os.environ.get("UPDATE_LOWERING"):
        case.write_text(json.dumps({"prompt": recorded["prompt"], "program": program}, indent=1) + "\n")
    assert program == recorded["program"]


def test_there_are_snapshots() -> None:
    assert len(CASES) >= 6


def graph(**nodes: tuple[str, dict[str, Any]]) -> Graph:
    return Graph(Node(name, class_type, inputs) for name, (class_type, inputs) in nodes.items())


def to_image(latent: Link) -> dict[str, tuple[str, dict[str, Any]]]:
    """A decode and a save behind a latent; the checkpoint is node c."""
    return {
        "c": ("CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"}),
        "d": ("VAEDecode", {"samples": latent, "vae": Link("c", 2)}),
        "s": ("SaveImage", {"images": Link("d", 0), "filename_prefix": "x"}),
    }


EMPTY = ("EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 1})


def test_a_primitive_is_one_parameter_as_narrow_as_what_it_feeds() -> None:
    size = Link("p", 0)
    program = lower(
        graph(
            p=("PrimitiveInt", {"value": 512}),
            e=("EmptyLatentImage", {"width": size, "height": size, "batch_size": 1}),
            **to_image(Link("e", 0)),
        )
    )
    assert program.steps[0].inputs["width"] == program.steps[0].inputs["height"] == Param("p.value")
    parameter = program.parameters["p.value"]
    assert (parameter.type, parameter.default, parameter.min, parameter.max) == ("INT", 512, 16, 16384)
    assert "e.width" not in program.parameters


def test_text_that_feeds_a_choice_becomes_one() -> None:
    program = lower(
        graph(
            e=EMPTY,
            p=("PrimitiveString", {"value": "area"}),
            u=("LatentUpscaleBy", {"samples": Link("e", 0), "upscale_method": Link("p", 0), "scale_by": 2.0}),
            **to_image(Link("u", 0)),
        )
    )
    parameter = program.parameters["p.value"]
    assert (parameter.type, parameter.options) == ("COMBO", ("nearest-exact", "bilinear", "area", "bicubic", "bislerp"))
    assert program.parameters["u.scale_by"].default == 2.0


def test_a_primitive_that_a_loader_needs_is_fixed_everywhere() -> None:
    program = lower(
        graph(
            n=("PrimitiveString", {"value": "a.safetensors"}),
            c=("CheckpointLoaderSimple", {"ckpt_name": Link("n", 0)}),
            e=EMPTY,
            d=("VAEDecode", {"samples": Link("e", 0), "vae": Link("c", 2)}),
            s=("SaveImage", {"images": Link("d", 0), "filename_prefix": Link("n", 0)}),
        )
    )
    assert program.networks["decoder"].weights == ModelFile("checkpoints", "a.safetensors")
    assert program.steps[-1].inputs["filename_prefix"] == Literal("a.safetensors")
    assert set(program.parameters) == {"e.width", "e.height", "e.batch_size"}


def test_loras_nest_and_strength_0_is_none() -> None:
    first = {"model": Link("c", 0), "clip": Link("c", 1), "lora_name": "x", "strength_model": 0.5, "strength_clip": 0}
    program = lower(
        graph(
            l=("LoraLoader", first),
            m=("LoraLoaderModelOnly", {"model": Link("l", 0), "lora_name": "y", "strength_model": -1}),
            t=("CLIPTextEncode", {"clip": Link("l", 1), "text": "fox"}),
            e=EMPTY,
            k=(
                "KSampler",
                {
                    "model": Link("m", 0), "positive": Link("t", 0), "negative": Link("t", 0),
                    "latent_image": Link("e", 0), "seed": 1, "steps": 2, "cfg": 7, "sampler_name": "euler",
                    "scheduler": "normal", "denoise": 1,
                },
            ),
            **to_image(Link("k", 0)),
        )
    )  # fmt: skip
    base = ModelFile("checkpoints", "a.safetensors")
    one = Lora(base, ModelFile("loras", "x"), 0.5)
    assert program.networks["text"].weights == base
    assert program.networks["denoiser"].weights == Lora(one, ModelFile("loras", "y"), -1.0)


def test_equal_uses_of_a_network_share_an_id_and_others_count_on() -> None:
    program = lower(
        graph(
            e=EMPTY,
            **to_image(Link("e", 0)),
            d2=("VAEDecode", {"samples": Link("e", 0), "vae": Link("c", 2)}),
            v=("VAELoader", {"vae_name": "b.safetensors"}),
            d3=("VAEDecode", {"samples": Link("e", 0), "vae": Link("v", 0)}),
            p2=("PreviewImage", {"images": Link("d2", 0)}),
            p3=("PreviewImage", {"images": Link("d3", 0)}),
        )
    )
    used = {s.nodes[0]: s.networks["vae_decoder"] for s in program.steps if s.op == "decode_latent"}
    assert used == {"d": "decoder", "d2": "decoder", "d3": "decoder.2"}


def test_what_reaches_no_output_is_not_lowered() -> None:
    program = lower(graph(e=EMPTY, w=("LatentUpscaleBy", {"samples": Link("e", 0)}), **to_image(Link("e", 0))))
    assert [s.nodes for s in program.steps] == [("e",), ("d",), ("s",), ("s",)]


def problems(of: Graph, **more: NodeDef) -> list[str]:
    with pytest.raises(WorkflowError) as caught:
        lower(of, {**NODES, **more})
    return [str(p) for p in caught.value.problems]


def test_every_unsupported_node_is_listed_at_once() -> None:
    known = NodeDef("ControlNetLoader", (), (Output("CONTROL_NET", "CONTROL_NET"),))
    listed = problems(
        graph(
            e=EMPTY,
            x=("MagicNode", {"latent": Link("e", 0)}),
            y=("MagicNode", {}),
            n=("ControlNetLoader", {}),
            z=("ControlNetLoader", {"in": Link("n", 0)}),
            **to_image(Link("x", 0)),
            o=("SaveLatent", {"samples": Link("z", 0), "filename_prefix": "l"}),
        ),
        ControlNetLoader=known,
    )
    assert len(listed) == 4
    assert listed[0] == (
        "node x (MagicNode): unknown node class; remove or bypass the node, or add its definition"
    )
    assert listed[2].startswith("node n (ControlNetLoader): comfyc does not compile this node class yet")


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ({}, "the workflow has no output node; add a SaveImage or PreviewImage node"),
        (
            {"e": EMPTY, **to_image(Link("e", 0)), "d": ("VAEDecode", {"samples": Link("e", 0)})},
            "node d (VAEDecode), input 'vae': required input is missing; link it or set it",
        ),
        (
            {"e": EMPTY, **to_image(Link("c", 1))},
            "node d (VAEDecode), input 'samples': the linked output is of another type: expected LATENT, got CLIP; "
            "link an output of type LATENT",
        ),
        (
            {"e": EMPTY, **to_image(Link("e", 0)), "d": ("VAEDecode", {"samples": Link("e", 0), "vae": Link("e", 0)})},
            "node d (VAEDecode), input 'vae': the linked output is of another type: expected VAE, "
            "got a value that exists only while running; link an output of type VAE",
        ),
        (
            {"e": EMPTY, **to_image(Link("e", 3))},
            "node d (VAEDecode), input 'samples': the link leads nowhere: got node e, slot 3",
        ),
        (
            {"e": ("EmptyLatentImage", {"width": "wide", "height": 8, "batch_size": 1}), **to_image(Link("e", 0))},
            "node e (EmptyLatentImage), input 'width': the value is of the wrong type: expected INT, got 'wide'",
        ),
        (
            {**to_image(Link("e", 0)), "d": ("VAEDecode", {"samples": "words", "vae": Link("c", 2)})},
            "node d (VAEDecode), input 'samples': a value stands here: expected a link of type LATENT, got 'words'",
        ),
        (
            {"e": EMPTY, **to_image(Link("e", 0)), "c": ("VAELoader", {"vae_name": "taesd"})},
            "node c (VAELoader), input 'vae_name': 'taesd' is not compiled yet; choose a file of models/vae, "
            "or link the checkpoint's own VAE",
        ),
    ],
)
def test_problems_say_where_and_what(nodes: dict[str, tuple[str, dict[str, Any]]], problem: str) -> None:
    assert problem in problems(graph(**nodes))


def test_a_broken_node_is_reported_once_however_much_hangs_on_it() -> None:
    many = {f"s{i}": ("SaveImage", {"images": Link("d", 0), "filename_prefix": "x"}) for i in range(3)}
    assert len(problems(graph(**to_image(Link("c", 1)), **many))) == 1


def _lower_size(node: Node, b: Builder) -> None:
    (value,) = b.emit("identity", {"value": b.operand("image")})
    b.output(0, value)


def test_a_value_of_another_node_cannot_be_a_constant() -> None:
    measure = NodeDef("Measure", (Input("image", "IMAGE"),), (Output("text", "STRING"),), lower=_lower_size)
    listed = problems(
        graph(
            i=("LoadImage", {"image": "a.png"}),
            m=("Measure", {"image": Link("i", 0)}),
            c=("CheckpointLoaderSimple", {"ckpt_name": Link("m", 0)}),
            d=("VAEDecode", {"samples": Link("e", 0), "vae": Link("c", 2)}),
            e=EMPTY,
            s=("SaveImage", {"images": Link("d", 0), "filename_prefix": "x"}),
        ),
        Measure=measure,
    )
    assert listed == [
        "node c (CheckpointLoaderSimple), input 'ckpt_name': this value must be known when the workflow is compiled, "
        "but another node computes it; unlink it and type the value in"
    ]


def test_defaults_fill_what_is_left_out() -> None:
    program = lower(graph(e=("EmptyLatentImage", {}), **to_image(Link("e", 0))))
    assert {n: p.default for n, p in program.parameters.items() if n[0] == "e"} == {
        "e.width": 512,
        "e.height": 512,
        "e.batch_size": 1,
    }


def test_load_image_takes_a_file() -> None:
    program = lower(graph(i=("LoadImage", {"image": "a.png"}), p=("PreviewImage", {"images": Link("i", 0)})))
    assert program.parameters["i.image"].type == "IMAGE_FILE"
    assert program.parameters["i.image"].options is None


def test_ids_of_flattened_subgraphs() -> None:
    nodes = {"57:8": EMPTY, **to_image(Link("57:8", 0))}
    assert "57:8.width" in lower(graph(**nodes)).parameters
