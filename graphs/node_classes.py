"""Questions about the classes of a graph's nodes: their schemas, and which of them do something for the user."""

from __future__ import annotations

from collections.abc import Mapping

from graphs.definition import NodeDef
from graphs.graph import Graph
from graphs.node import Node
from graphs.schemas import Schemas

# Type and message of the problems of a whole node, wherever it is found.
UNKNOWN_CLASS = ("missing_node_type", "unknown node class")
NOT_COMPILED = ("unsupported", "comfyc does not compile this node class yet")
NOT_COMPILED_HINT = "remove or bypass the node; `comfyc explain` shows what becomes of every node"
SCHEMAS_VERSION = "0.33"  # the ComfyUI whose classes the shipped data describes


def find_schema(schemas: Mapping[str, NodeDef], class_type: str) -> NodeDef | None:
    """The schema of a class, also under a name that it had earlier; None when unknown."""
    return schemas.lookup(class_type) if isinstance(schemas, Schemas) else schemas.get(class_type)


def schemas_in(graph: Graph, schemas: Mapping[str, NodeDef]) -> dict[str, NodeDef | None]:
    """The schema of every class that the graph has."""
    return {class_type: find_schema(schemas, class_type) for class_type in {node.class_type for node in graph}}


def output_nodes(graph: Graph, schemas: Mapping[str, NodeDef]) -> tuple[Node, ...]:
    """The nodes that do something for the user: save, preview."""
    known = schemas_in(graph, schemas)
    return tuple(node for node in graph if (schema := known[node.class_type]) is not None and schema.output_node)
