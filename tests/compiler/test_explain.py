"""explain tells the fate of every node and draws the graph."""

from __future__ import annotations

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
