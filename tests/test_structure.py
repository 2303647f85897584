"""The structure of the code: no two files import each other, directly or in a circle, not even for types."""

from __future__ import annotations

import ast
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parent.parent
PACKAGES = ("graphs", "runtime", "compiler", "comfyc")


def _module(file: Path) -> str:
    name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def _imports() -> nx.DiGraph[str]:
    """module -> module for every import statement, those under TYPE_CHECKING and in functions included."""
    files = {_module(file): file for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, file in files.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [
                    f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in files else node.module
                    for alias in node.names
                ]
            graph.add_edges_from((module, name) for name in names if name in files and name != module)
    return graph


def test_no_import_circles() -> None:
    graph = _imports()
    assert graph.number_of_edges() > 300
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert circles == []


def test_few_loose_files_in_the_compiler() -> None:
    loose = {file.name for file in (ROOT / "compiler").glob("*.py")} - {"__init__.py"}
    assert len(loose) <= 6, sorted(loose)
