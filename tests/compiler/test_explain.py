"""explain tells the fate of every node and draws the graph."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from compiler.checking.check import check
from compiler.reporting.explain import explain, to_json, to_mermaid, to_text
from compiler.reporting.graph_picture import to_svg
from graphs.examples import example
from graphs.schemas import builtin
from graphs.workflow import read_workflow


def test_the_default_workflow_is_explained() -> None:
    schemas = builtin()
    graph = check(read_workflow(example("default"), schemas), schemas).graph
    found = explain(graph, schemas)
    fates = {f.class_type: f.fate for f in found.fates}
    assert fates["KSampler"] == "compiled"
    assert fates["CheckpointLoaderSimple"] == "compiled"
    assert fates["EmptyLatentImage"] == "interpreted"
    assert {f.node for f in found.fates} >= {node.id for node in graph}
    assert "fuse_guidance" in to_text(found)
    assert to_json(found)["networks"]
    assert to_mermaid(found.after).count("-->") == sum(len(n.links) for n in found.after)
    boxes = ElementTree.fromstring(to_svg(graph)).findall("{http://www.w3.org/2000/svg}text")
    assert len(boxes) == 2 * len(graph)


def test_the_code_map_shows_the_steps_of_the_default_workflow_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/structure.md").read_text("utf-8")
    shown = page.split("## The default workflow, once")[1].split("\n| step |")[0].split("freed after each:")[1]
    schemas = builtin()
    graph = check(read_workflow(example("default"), schemas), schemas).graph
    printed = to_text(explain(graph, schemas)).split("\nsteps (")[1].split("\n\n")[0].splitlines()[1:]
    steps = " ".join(re.sub(r" frees\([^)]*\)", "", line) for line in printed)
    assert shown.split() == steps.split()
