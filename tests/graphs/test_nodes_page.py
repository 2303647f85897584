"""docs/nodes.md is what its tool writes."""

from __future__ import annotations

from graphs.nodes import NODES
from graphs.shipped_schemas import shipped
from tools.make_nodes_page import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run python -m tools.make_nodes_page"


def test_the_readme_counts_as_the_page_does() -> None:
    counts = f"{len(NODES)} of the {len(shipped())} built-in ones"
    assert counts in " ".join((PAGE.parents[1] / "README.md").read_text("utf-8").split())
