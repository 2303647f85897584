"""A small vocabulary of node classes, and a workflow in it that has no problems, for the tests of `check`."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.checking.check import check
from compiler.checking.files import Files
from graphs.definition import Builder, NodeDef
from graphs.errors import Problem
from graphs.graph import Graph
from graphs.node import COMBO, Input, Json, Link, Node, Output


def no_steps(node: Node, b: Builder) -> None:
    """Stands for a lowering: check only asks whether there is one."""


SAMPLERS = ("euler", "heun", "dpmpp_2m")
TEMPLATE = {"input": {"required": {"image": ["*", {}]}}, "prefix": "image", "min": 1, "max": 9}
PARTS = Input("parts", "COMFY_AUTOGROW_V3", extra={"template": TEMPLATE})
SCHEMAS = {
    s.class_type: s
    for s in (
        NodeDef(
            "Load", (Input("ckpt", COMBO, folder="checkpoints"),), (Output("M", "MODEL"), Output("V", "VAE")), no_steps
        ),
        NodeDef("Empty", (Input("width", "INT", default=512, min=16, max=1024),), (Output("L", "LATENT"),), no_steps),
        NodeDef(
            "Sample",
            (
                Input("model", "MODEL"),
                Input("latent", "LATENT"),
                Input("steps", "INT", default=20, min=1, max=100),
                Input("cfg", "FLOAT", default=8.0, min=0.0, max=100.0),
                Input("sampler", COMBO, options=SAMPLERS),
                Input("text", "STRING", required=False),
                Input("flag", "BOOLEAN", required=False),
                Input("any", "*", required=False),
                Input("secret", "PROMPT", hidden=True),
            ),
            (Output("L", "LATENT"),),
            no_steps,
        ),
        NodeDef("Decode", (Input("latent", "LATENT"), Input("vae", "VAE")), (Output("I", "IMAGE"),), no_steps),
        NodeDef("Later", (Input("image", "IMAGE"),), (Output("I", "IMAGE"),)),
        NodeDef("Save", (Input("image", "IMAGE"),), (), no_steps, output_node=True),
        NodeDef("Many", (PARTS,), (Output("I", "IMAGE"),), no_steps),
    )
}
FILES = {"checkpoints": ("a.safetensors", "SD1.5/model.safetensors", "x/twin.ckpt", "y/twin.ckpt")}


def workflow(**changes: dict[str, Json]) -> Graph:
    """A workflow without problems, with inputs changed by class; the value ... leaves an input out."""
    classes: dict[str, dict[str, Json]] = {
        "Load": {"ckpt": "a.safetensors"},
        "Empty": {"width": 64},
        "Sample": {"model": Link("Load", 0), "latent": Link("Empty", 0), "steps": 4, "cfg": 7.0, "sampler": "euler"},
        "Decode": {"latent": Link("Sample", 0), "vae": Link("Load", 1)},
        "Save": {"image": Link("Decode", 0)},
    }
    for name, inputs in changes.items():
        classes[name] = {k: v for k, v in {**classes.get(name, {}), **inputs}.items() if v is not ...}
    return Graph(Node(name, name, inputs) for name, inputs in classes.items())


def problems_of(
    graph: Graph, schemas: Mapping[str, NodeDef], files: Files | None = None, **options: bool
) -> tuple[Problem, ...]:
    return check(graph, schemas, files, **options).problems


def coerced(graph: Graph) -> Graph:
    return check(graph, SCHEMAS, FILES).graph


def one(graph: Graph, **options: bool) -> Problem:
    (problem,) = problems_of(graph, SCHEMAS, FILES, **options)
    return problem
