"""The workflow as an immutable multigraph DAG keyed by input name. The only file that speaks networkx."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import networkx as nx

from graphs.errors import Problem, WorkflowError
from graphs.node import Link, Node

Json = Any


class Graph:
    """Nodes by id, in the file's order (ComfyUI's tie-break), with an edge per linked input, keyed by the input's name.

    Links may point to nodes that are not there (`check` reports them); such links make no edge. A cycle raises
    WorkflowError with its path. workflow: the UI JSON it came from, if any. dissolved: nodes that the reader
    resolved away (muted, bypassed, reroutes, notes ...) as (id, class_type, reason).
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        workflow: Mapping[str, Json] | None = None,
        dissolved: Iterable[tuple[str, str, str]] = (),
        warnings: Iterable[Problem] = (),
    ) -> None:
        self._nodes: Mapping[str, Node] = MappingProxyType({n.id: n for n in nodes})
        self.workflow = workflow
        self.dissolved = tuple(dissolved)
        self.warnings = tuple(warnings)
        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_nodes_from(self._nodes)
        for node in self._nodes.values():
            for name, link in node.links.items():
                if link.node in self._nodes:
                    graph.add_edge(link.node, node.id, key=name, slot=link.slot)
        if not nx.is_directed_acyclic_graph(graph):
            cycle = [edge[0] for edge in nx.find_cycle(graph)]
            path = " -> ".join([*cycle, cycle[0]])
            raise WorkflowError(
                "the workflow has a cycle",
                (Problem("cycle", f"nodes feed each other: {path}", node_id=cycle[0], hint="remove one of these links"),),
            )
        self._dag = nx.freeze(graph)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __getitem__(self, node_id: str) -> Node:
        return self._nodes[node_id]

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._nodes

    def topological(self) -> tuple[Node, ...]:
        """Producers before consumers; ties in the file's order."""
        order = {node_id: i for i, node_id in enumerate(self._nodes)}
        return tuple(self._nodes[i] for i in nx.lexicographical_topological_sort(self._dag, key=order.__getitem__))

    def ancestors(self, roots: Iterable[str]) -> frozenset[str]:
        """The roots and everything they depend on."""
        seen: set[str] = set()
        stack = [r for r in roots if r in self._nodes]
        while stack:
            node_id = stack.pop()
            if node_id not in seen:
                seen.add(node_id)
                stack.extend(self._dag.predecessors(node_id))
        return frozenset(seen)

    def consumers(self, node_id: str) -> tuple[tuple[str, str, int], ...]:
        """(consumer id, input name, slot) for each link out of the node."""
        return tuple((dst, key, data["slot"]) for _, dst, key, data in self._dag.out_edges(node_id, keys=True, data=True))

    def replaced(self, nodes: Iterable[Node]) -> Graph:
        """A graph of these nodes that keeps this one's origin."""
        return Graph(nodes, workflow=self.workflow, dissolved=self.dissolved, warnings=self.warnings)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and dict(self._nodes) == dict(other._nodes)

    def __hash__(self) -> int:
        return hash(tuple(self._nodes))


def link_to(node: str, slot: int = 0) -> Link:
    return Link(node, slot)
