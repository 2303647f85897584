"""Graph: order, ancestors, immutability, equality, cycles with their path."""

from __future__ import annotations

import sys
import time
from subprocess import run

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.errors import WorkflowError
from graphs.graph import Graph
from graphs.node import Json, Link, Node


def node(node_id: str, *sources: str, **widgets: Json) -> Node:
    inputs: dict[str, Json] = {f"in{i}": Link(source, 0) for i, source in enumerate(sources)}
    return Node(node_id, "Any", {**inputs, **widgets})


def ids(graph: Graph) -> str:
    return " ".join(n.id for n in graph.topological())


def test_order_is_producers_first_then_the_files() -> None:
    assert ids(Graph([node("save", "b"), node("b", "a"), node("z"), node("a")])) == "z a b save"
    assert ids(Graph([node("3"), node("1"), node("2", "1")])) == "3 1 2"


def test_ancestors_and_consumers() -> None:
    graph = Graph([node("a"), node("b", "a", "a"), node("c", "b"), node("d", "gone")])
    assert graph.ancestors(["c", "nowhere"]) == {"a", "b", "c"}
    assert graph.ancestors(["d"]) == {"d"}
    assert graph.consumers("a") == (("b", "in0", 0), ("b", "in1", 0))
    assert graph.consumers("c") == ()


def test_dag_is_a_frozen_multigraph_keyed_by_input() -> None:
    dag = Graph([node("a"), node("b", "a", "a")]).dag
    assert sorted(dag.edges(keys=True)) == [("a", "b", "in0"), ("a", "b", "in1")]
    assert dag.edges["a", "b", "in1"]["slot"] == 0
    with pytest.raises(nx.NetworkXError):
        dag.add_edge("b", "a")


def test_immutable() -> None:
    graph = Graph([node("a")])
    with pytest.raises(AttributeError, match="immutable"):
        graph.workflow = {}
    with pytest.raises(AttributeError, match="immutable"):
        graph.something = 1
    with pytest.raises(AttributeError, match="immutable"):
        del graph.warnings
    with pytest.raises(TypeError):
        graph.nodes["b"] = node("b")  # type: ignore[index]


def test_equal_graphs_have_equal_nodes_in_the_same_order() -> None:
    one, same, other = Graph([node("a"), node("b")]), Graph([node("a"), node("b")]), Graph([node("b"), node("a")])
    assert one == same
    assert hash(one) == hash(same)
    assert one != other  # the file's order decides the order of execution
    assert one != Graph([node("a"), node("b", x=1)])
    assert one != "graph"
    assert one == Graph([node("a"), node("b")], workflow={"nodes": []})


def test_replaced_keeps_the_origin() -> None:
    graph = Graph([node("a"), node("b")], workflow={"id": 1}, dissolved=[("c", "Note", "a note")])
    new = graph.replaced([graph["a"]])
    assert (len(new), new.workflow, new.dissolved) == (1, {"id": 1}, (("c", "Note", "a note"),))
    assert "a" in new
    assert "b" not in new


def test_duplicate_ids_are_refused() -> None:
    with pytest.raises(WorkflowError) as error:
        Graph([node("a"), node("b"), node("a", "b")])
    assert [p.node_id for p in error.value.problems] == ["a"]


@pytest.mark.parametrize(
    ("nodes", "path"),
    [
        ([node("5", "5")], "5 -> 5"),
        ([node("a", "c"), node("b", "a"), node("c", "b"), node("d", "c")], "a -> b -> c -> a"),
        ([node("x"), node("1", "x", "2"), node("2", "1")], "1 -> 2 -> 1"),
    ],
)
def test_a_cycle_is_reported_with_its_path(nodes: list[Node], path: str) -> None:
    with pytest.raises(WorkflowError) as error:
        Graph(nodes)
    (problem,) = error.value.problems
    assert problem.type == "cycle"
    assert path in problem.message


def test_every_knot_is_reported() -> None:
    with pytest.raises(WorkflowError) as error:
        Graph([node("a", "b"), node("b", "a"), node("x", "y"), node("y", "x"), node("s", "s", "a")])
    assert [p.node_id for p in error.value.problems] == ["a", "x", "s"]


@given(st.integers(0, 60), st.randoms(use_true_random=False))
def test_order_is_what_networkx_says(count: int, random: object) -> None:
    import random as random_module

    assert isinstance(random, random_module.Random)
    rank = list(range(count))
    random.shuffle(rank)
    nodes = [node(str(i), *(str(j) for j in range(count) if rank[j] < rank[i] and random.random() < 0.1)) for i in rank]
    graph = Graph(nodes)
    place = {n.id: i for i, n in enumerate(nodes)}
    assert [n.id for n in graph.topological()] == list(
        nx.lexicographical_topological_sort(graph.dag, key=place.__getitem__)
    )
    for n in nodes[:5]:
        assert graph.ancestors([n.id]) == nx.ancestors(graph.dag, n.id) | {n.id}


def test_ten_thousand_nodes_are_quick() -> None:
    nodes = [node(str(i), *(str(j) for j in (i - 1, i - 7, i // 2) if 0 <= j < i)) for i in range(10_000)]
    started = time.process_time()
    graph = Graph(nodes)
    graph.ancestors(["9999"])
    assert time.process_time() - started < 2.0  # 0.2 on an idle core; 10^8 steps would take tens
    assert len(graph.topological()) == 10_000


def test_networkx_is_imported_on_first_use_only() -> None:
    code = "import graphs.graph, sys; graphs.graph.Graph([]); sys.exit('networkx' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
