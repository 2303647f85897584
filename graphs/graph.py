"""The workflow as an immutable multigraph DAG keyed by input name. The only file that speaks networkx.

The hot questions (order, ancestors, consumers) are answered from plain adjacency that one walk over the nodes builds;
networkx comes in, on first use, for everything that its algorithms are good for (`Graph.dag`, the paths of cycles).
Ten thousand nodes cost some 30 ms here, and a command that only prints its help never imports networkx.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from graphs.errors import Problem, WorkflowError
from graphs.node import Link, Node

if TYPE_CHECKING:
    import networkx as nx

Json = Any
Consumer = tuple[str, str, int]  # consumer id, input name, output slot of the producer
Dissolved = tuple[str, str, str]  # id, class_type, reason


class Graph:
    """Nodes by id, in the file's order (ComfyUI's tie-break), with an edge per linked input, keyed by the input's name.

    Links may point to nodes that are not there (`check` reports them); such links make no edge. A cycle raises
    WorkflowError with its path. workflow: the UI JSON it came from, if any. dissolved: nodes that the reader
    resolved away (muted, bypassed, reroutes, notes ...) as (id, class_type, reason).

    Two graphs are equal when they have equal nodes in the same order; where they came from does not matter.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        *,
        workflow: Mapping[str, Json] | None = None,
        dissolved: Iterable[Dissolved] = (),
        warnings: Iterable[Problem] = (),
    ) -> None:
        listed = tuple(nodes)
        by_id = {node.id: node for node in listed}
        if len(by_id) != len(listed):
            _refuse_duplicates(listed)
        consumers: dict[str, list[Consumer]] = {node_id: [] for node_id in by_id}
        waiting = dict.fromkeys(by_id, 0)  # linked inputs whose producer is not ordered yet
        for node in listed:
            for name, link in node.links.items():
                if link.node in by_id:
                    consumers[link.node].append((node.id, name, link.slot))
                    waiting[node.id] += 1
        order = _ordered(by_id, consumers, waiting)
        if len(order) != len(by_id):
            _refuse_cycles(by_id, consumers, order)
        put = self.__dict__.__setitem__
        put("_nodes", MappingProxyType(by_id))
        put("_consumers", {node_id: tuple(found) for node_id, found in consumers.items()})
        put("_order", tuple(by_id[node_id] for node_id in order))
        put("workflow", workflow)
        put("dissolved", tuple(dissolved))
        put("warnings", tuple(warnings))

    workflow: Mapping[str, Json] | None
    dissolved: tuple[Dissolved, ...]
    warnings: tuple[Problem, ...]
    _nodes: Mapping[str, Node]
    _consumers: Mapping[str, tuple[Consumer, ...]]
    _order: tuple[Node, ...]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a Graph is immutable: make a new one with replaced() to change '{name}'")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a Graph is immutable: '{name}' cannot be deleted")

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    @cached_property
    def dag(self) -> nx.MultiDiGraph[str]:
        """A frozen networkx view: an edge per link, keyed by the consumer's input name, with the producer's slot."""
        import networkx as nx

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        graph.add_nodes_from(self._nodes)
        for source, found in self._consumers.items():
            for node_id, name, slot in found:
                graph.add_edge(source, node_id, key=name, slot=slot)
        frozen: nx.MultiDiGraph[str] = nx.freeze(graph)
        return frozen

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __getitem__(self, node_id: str) -> Node:
        return self._nodes[node_id]

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def topological(self) -> tuple[Node, ...]:
        """Producers before consumers; ties in the file's order."""
        return self._order

    def ancestors(self, roots: Iterable[str]) -> frozenset[str]:
        """The roots and everything they depend on."""
        nodes = self._nodes
        stack = [root for root in roots if root in nodes]
        seen = set(stack)
        while stack:
            for link in nodes[stack.pop()].links.values():
                if link.node not in seen and link.node in nodes:
                    seen.add(link.node)
                    stack.append(link.node)
        return frozenset(seen)

    def consumers(self, node_id: str) -> tuple[Consumer, ...]:
        """(consumer id, input name, slot) for each link out of the node, in the file's order."""
        return self._consumers[node_id]

    def replaced(self, nodes: Iterable[Node]) -> Graph:
        """A graph of these nodes that keeps this one's origin."""
        return Graph(nodes, workflow=self.workflow, dissolved=self.dissolved, warnings=self.warnings)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self is other or tuple(self._nodes.values()) == tuple(other._nodes.values())

    def __hash__(self) -> int:
        return hash(tuple((node.id, node.class_type) for node in self))

    def __repr__(self) -> str:
        return f"<Graph of {len(self)} nodes>"


MAX_CYCLES = 1000  # reported at once
MAX_PATH = 50  # nodes of one that are named


def link_to(node: str, slot: int = 0) -> Link:
    return Link(node, slot)


def _ordered(nodes: Mapping[str, Node], consumers: Mapping[str, list[Consumer]], waiting: dict[str, int]) -> list[str]:
    """Ids, producers first, the earliest in the file among those that are ready. Nodes on or behind a cycle miss."""
    ids = list(nodes)
    place = {node_id: i for i, node_id in enumerate(ids)}
    ready = [place[node_id] for node_id, count in waiting.items() if count == 0]
    heapify(ready)
    order = []
    while ready:
        node_id = ids[heappop(ready)]
        order.append(node_id)
        for target, _, _ in consumers[node_id]:
            waiting[target] -= 1
            if waiting[target] == 0:
                heappush(ready, place[target])
    return order


def _refuse_duplicates(nodes: tuple[Node, ...]) -> NoReturn:
    seen: set[str] = set()
    problems = []
    for node in nodes:
        if node.id in seen:
            hint = "give one of them another id"
            problems.append(Problem("duplicate_id", "two nodes have this id", node.id, node.class_type, hint=hint))
        seen.add(node.id)
    raise WorkflowError("two nodes of the workflow have the same id", tuple(problems))


def _refuse_cycles(nodes: Mapping[str, Node], consumers: Mapping[str, list[Consumer]], order: list[str]) -> NoReturn:
    """Raises with one cycle of every knot of nodes that feed each other, each with its path."""
    import networkx as nx

    done = set(order)
    left = [node_id for node_id in nodes if node_id not in done]
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from((source, target) for source in left for target, _, _ in consumers[source])
    place = {node_id: i for i, node_id in enumerate(left)}
    loops = set(nx.nodes_with_selfloops(graph))
    knots = [k for k in nx.strongly_connected_components(graph) if len(k) > 1 or k & loops]
    problems = []
    for knot in sorted(knots, key=lambda k: min(place[n] for n in k))[:MAX_CYCLES]:
        cycle = _a_cycle(nodes, knot, min(knot, key=place.__getitem__))
        shown = cycle if len(cycle) <= MAX_PATH else [*cycle[:MAX_PATH], f"({len(cycle) - MAX_PATH} more)"]
        path = " -> ".join([*shown, cycle[0]])
        message, hint = f"nodes feed each other: {path}", "remove one of these links"
        problems.append(Problem("cycle", message, cycle[0], nodes[cycle[0]].class_type, hint=hint))
    raise WorkflowError(
        "the workflow has a cycle" if len(problems) == 1 else "the workflow has cycles", tuple(problems)
    )


def _a_cycle(nodes: Mapping[str, Node], knot: set[str], first: str) -> list[str]:
    """A cycle of a knot, each node feeding the next: back along any producer in the knot until one comes again."""
    seen: dict[str, int] = {}
    walked: list[str] = []
    node_id = first
    while node_id not in seen:
        seen[node_id] = len(walked)
        walked.append(node_id)
        node_id = next(link.node for link in nodes[node_id].links.values() if link.node in knot)
    cycle = walked[seen[node_id] :][::-1]
    start = cycle.index(first) if first in cycle else 0
    return [*cycle[start:], *cycle[:start]]
