"""The API ("prompt") format <-> Graph, and the envelopes it travels in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.node import Link, Node
from graphs.reading.findings import Findings, brief

Json = Any

MAX_ID = 512  # characters; nested subgraphs join ids with ":", real ones stay under 40
_ENVELOPES = ("prompt", "output", "workflow", "input", "api", "workflow_api", "prompt_json")


def find_api(obj: Json, depth: int = 4) -> Mapping[str, Json] | None:
    """The object of nodes in obj or in one of the envelopes that servers and tools wrap it in; None without one."""
    if not isinstance(obj, Mapping) or depth == 0:
        return None
    if any(isinstance(v, Mapping) and "class_type" in v for v in obj.values()):
        return obj
    return next((found for key in _ENVELOPES if (found := find_api(obj.get(key), depth - 1))), None)


def envelope_workflow(obj: Json) -> Mapping[str, Json] | None:
    """The UI form that a queue request carries beside its prompt (extra_data.extra_pnginfo.workflow)."""
    for key in ("extra_data", "extra_pnginfo", "workflow"):
        obj = obj.get(key) if isinstance(obj, Mapping) else None
    return obj if isinstance(obj, Mapping) else None


def parse_api(obj: Json, *, workflow: Mapping[str, Json] | None = None) -> Graph:
    """API JSON, bare or in an envelope -> Graph. Classes need not be known.

    Raises: WorkflowError with every malformed node and link of the file.
    """
    nodes = find_api(obj)
    if nodes is None:
        raise WorkflowError(
            "this JSON holds no workflow: no node with a class_type was found",
            hint="expected a file that ComfyUI saved with Save or Export (API)",
        )
    findings = Findings()
    parsed = list(_nodes(nodes, findings))
    findings.raise_problems()
    return Graph(parsed, workflow=workflow or envelope_workflow(obj), warnings=findings.warnings)


def to_api(graph: Graph | Iterable[Node]) -> dict[str, Json]:
    """Graph -> API JSON. Lists that are values, not links, are wrapped as the server expects ({"__value__": [...]})."""
    return {node.id: _node_json(node) for node in graph}


def _node_json(node: Node) -> dict[str, Json]:
    inputs = {
        name: [value.node, value.slot]
        if isinstance(value, Link)
        else {"__value__": value}
        if isinstance(value, list)
        else value
        for name, value in node.inputs.items()
    }
    entry: dict[str, Json] = {"inputs": inputs, "class_type": node.class_type}
    meta = {"title": node.title, **node.meta} if node.title is not None else dict(node.meta)
    if meta:
        entry["_meta"] = meta
    return entry


def _nodes(nodes: Mapping[str, Json], findings: Findings) -> Iterator[Node]:
    for node_id, entry in nodes.items():
        if not isinstance(entry, Mapping) or ("class_type" not in entry and "inputs" not in entry):
            findings.warn("not_a_node", f"skipped the key {brief(node_id)}: its value is no node")
            continue
        class_type, inputs, meta = entry.get("class_type"), entry.get("inputs", {}), entry.get("_meta")
        if len(node_id) > MAX_ID:
            findings.problem("bad_node_id", f"the id {brief(node_id)} has {len(node_id)} characters (at most {MAX_ID})")
            continue
        if not isinstance(class_type, str):
            findings.problem(
                "invalid_prompt",
                "the node has no class_type",
                node_id=node_id,
                expected="the name of a node class",
                got=brief(class_type),
            )
            continue
        if not isinstance(inputs, Mapping):
            findings.problem(
                "invalid_prompt",
                "'inputs' is no object",
                node_id=node_id,
                class_type=class_type,
                expected="an object of input values",
                got=brief(inputs),
            )
            continue
        meta = dict(meta) if isinstance(meta, Mapping) else {}
        title = meta.pop("title") if isinstance(meta.get("title"), str) else None
        values = {
            k: _value(v, node_id, class_type, k, findings) if type(v) is list or type(v) is dict else v
            for k, v in inputs.items()
        }
        yield Node(node_id, class_type, values, title, meta)


def _value(value: Json, node_id: str, class_type: str, name: str, findings: Findings) -> Link | Json:
    if isinstance(value, list):
        link = link_of(value)
        if link is None:
            findings.problem(
                "bad_linked_input",
                "a list must be a link",
                node_id=node_id,
                class_type=class_type,
                input_name=name,
                expected="[node id, output slot]",
                got=brief(value) if len(value) != 2 else f"[{brief(value[0], 30)}, {brief(value[1], 30)}]",
                hint='write a list that is meant as a value as {"__value__": [...]}',
            )
        return link
    if isinstance(value, dict) and len(value) == 1 and "__value__" in value:
        return value["__value__"]
    return value


def link_of(value: list[Json]) -> Link | None:
    """[id, slot] -> Link. The id may be a number (hand-written files), the slot an integral float."""
    if len(value) != 2:
        return None
    node, slot = value
    if type(node) is str and type(slot) is int and 0 <= slot < 2**31:  # what nearly every link looks like
        return Link(node, slot)
    if isinstance(node, bool) or not isinstance(node, str | int) or isinstance(slot, bool):
        return None
    if not isinstance(slot, int) and not (isinstance(slot, float) and slot.is_integer()):
        return None
    if not 0 <= slot < 2**31 or (isinstance(node, int) and node.bit_length() > 64):
        return None
    return Link(str(node), int(slot))
