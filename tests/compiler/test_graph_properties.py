"""Graph passes on random workflows: the outputs stay, a second run changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.options import CompileOptions
from compiler.passes.driver import Context
from compiler.passes.verify import verify_graph_step
from compiler.pipeline import GRAPH_PASSES, optimise_graph
from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import Input, Link, Node, Output
from tests.compiler.interpreter import digest

Json = Any
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


NODES = {
    schema.class_type: schema
    for schema in (
        NodeDef("Load", (Input("name", "COMBO", options=("a", "b")),), (Output("M", "MODEL"), Output("C", "CLIP"))),
        NodeDef("Patch", (Input("model", "MODEL"), Input("by", "INT")), (Output("M", "MODEL"),)),
        NodeDef("Number", (Input("value", "INT"),), (Output("N", "LATENT"),)),
        NodeDef("PrimitiveInt", (Input("value", "INT"),), (Output("I", "INT"),)),
        NodeDef("Add", (Input("x", "LATENT"), Input("y", "LATENT")), (Output("S", "LATENT"), Output("D", "LATENT"))),
        NodeDef("Scale", (Input("x", "LATENT"), Input("by", "INT")), (Output("P", "LATENT"),)),
        NodeDef("Apply", (Input("model", "MODEL"), Input("x", "LATENT")), (Output("R", "LATENT"),)),
        NodeDef("Dice", (Input("x", "LATENT"),), (Output("R", "LATENT"),), pure=False),
        NodeDef("Out", (Input("x", "LATENT"), Input("label", "INT")), output_node=True),
    )
}


@st.composite
def workflows(draw: st.DrawFn) -> Graph:
    """Nodes of all classes in any order of the file, with links, shared and equal parts, and dead ends."""
    sources: dict[str, list[Link]] = {"MODEL": [], "LATENT": [], "INT": [], "CLIP": []}
    nodes = [Node("n0", "Load", {"name": "a"}), Node("n1", "Number", {"value": 1})]
    sources["MODEL"].append(Link("n0", 0))
    sources["LATENT"].append(Link("n1", 0))
    for i in range(2, draw(st.integers(3, 14))):
        class_type = draw(st.sampled_from([*NODES, "Reroute", "Out"]))
        if class_type == "Reroute":
            kind = draw(st.sampled_from([k for k, found in sources.items() if found]))
            nodes.append(Node(f"n{i}", "Reroute", {"": draw(st.sampled_from(sources[kind]))}))
            sources[kind].append(Link(f"n{i}", 0))
            continue
        schema = NODES[class_type]
        inputs: dict[str, Json] = {}
        for declared in schema.inputs:
            if declared.type == "INT" and sources["INT"] and draw(st.booleans()) and class_type != "PrimitiveInt":
                inputs[declared.name] = draw(st.sampled_from(sources["INT"]))
            elif declared.type == "INT":
                inputs[declared.name] = draw(st.integers(0, 1))
            elif declared.type == "COMBO":
                inputs[declared.name] = draw(st.sampled_from("ab"))
            else:
                inputs[declared.name] = draw(st.sampled_from(sources[declared.type]))
        nodes.append(Node(f"n{i}", class_type, inputs))
        for slot, output in enumerate(schema.outputs):
            sources[output.type].append(Link(f"n{i}", slot))
    return Graph(draw(st.permutations(nodes)), dissolved=[("note", "Note", "a note")])


def outcome(graph: Graph, values: Mapping[str, Json]) -> dict[str, str]:
    """What each output node sees. values: widget values that a run sets, by NODE.INPUT."""
    made: dict[str, tuple[object, ...]] = {}
    seen = {}
    for node in graph.topological():
        inputs = {
            name: made[value.node][value.slot] if isinstance(value, Link) else values.get(f"{node.id}.{name}", value)
            for name, value in sorted(node.inputs.items())
        }
        if node.class_type in ("Reroute", "PrimitiveInt"):
            made[node.id] = tuple(inputs.values())
            continue
        salt = node.id if node.class_type in ("Dice", "Out") else ""
        result = digest(node.class_type, salt, inputs)
        made[node.id] = tuple(digest(result, slot) for slot in range(2))
        if node.class_type == "Out":
            seen[node.id] = result
    return seen


def settable(graph: Graph) -> list[str]:
    """Widget values that a run may set: not those of loaders, nor of primitives that feed one."""
    fixed = set()
    for node in graph:
        for link in node.links.values() if node.class_type == "Patch" else ():
            source = graph[link.node]
            while source.class_type == "Reroute":
                source = graph[source.links[""].node]
            fixed.add(source.id)
    return [
        f"{node.id}.{name}"
        for node in graph
        for name, value in node.inputs.items()
        if not isinstance(value, Link) and node.class_type not in ("Load", "Patch") and node.id not in fixed
    ]


@QUICK
@given(workflows(), st.data())
def test_graph_passes_keep_the_outputs(graph: Graph, data: st.DataObject) -> None:
    names = settable(graph)
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=4)) if names else set()
    context = Context(schemas=NODES, options=CompileOptions(freeze=tuple(frozen)))
    optimised, _ = optimise_graph(graph, context)
    left = set(settable(optimised))
    for _ in range(3):
        values = {n: data.draw(st.integers(0, 4)) for n in names if n in left and n not in frozen}
        assert outcome(optimised, values) == outcome(graph, values)


@QUICK
@given(workflows(), st.data())
def test_each_graph_pass_alone_keeps_the_outputs(graph: Graph, data: st.DataObject) -> None:
    names = settable(graph)
    frozen = data.draw(st.sets(st.sampled_from(names), max_size=4)) if names else set()
    context = Context(schemas=NODES, options=CompileOptions(freeze=tuple(frozen)))
    for stage in GRAPH_PASSES:
        after = stage.run(graph, context).value
        assert list(verify_graph_step(graph, after, NODES)) == []
        assert outcome(after, {}) == outcome(graph, {}), stage.name
        values = {n: 7 for n in settable(after) if n in names and n not in frozen}
        assert outcome(after, values) == outcome(graph, values), stage.name
        assert stage.run(after, context).changes == (), stage.name


@QUICK
@given(workflows())
def test_optimised_graphs_stay_as_they_are(graph: Graph) -> None:
    context = Context(schemas=NODES)
    optimised, _ = optimise_graph(graph, context)
    again, records = optimise_graph(optimised, context)
    assert again is optimised
    assert all(record.changes == () for record in records)
