"""Write docs/nodes.md, the page of compiled node classes, from the table of nodes: python -m tools.make_nodes_page"""

from __future__ import annotations

from pathlib import Path

from graphs.nodes import FAMILIES, NODES
from graphs.schemas import builtin
from graphs.shipped_schemas import shipped
from graphs.values import COMPILE_TIME_TYPES

PAGE = Path(__file__).parents[1] / "docs" / "nodes.md"

HEAD = """# Node classes

Made by `tools/make_nodes_page.py` from the table of nodes; a test holds it to that.

comfyc knows the schemas of {known} classes, those that ComfyUI 0.33 has built in and their forerunners, and compiles
{compiled} of them, listed here by family. `comfyc check` and `comfyc convert` work with all; `comfyc compile` and `run`
refuse a workflow that needs another one, by name. Nodes that only lay out the graph (Reroute, Note, PrimitiveNode,
subgraphs, group nodes) dissolve when it is read. A pack can add classes (CONTRIBUTING.md, "Add a node").

| what becomes of it | |
|---|---|
| step | one or more steps of the plan, which run in the networks or around them |
| function | one function on the host, with the inputs and outputs of the node |
| value | nothing at run time: a loader or patch that says which weights, facts or entries the steps have |
"""


def page() -> str:
    """The text of the page."""
    parts = [HEAD.format(known=len(shipped()), compiled=len(NODES))]
    for family in FAMILIES:
        title = (family.__doc__ or "").splitlines()[0].rstrip(".")
        rows = [f"\n## {title}\n", "| class | called | becomes |", "|---|---|---|"]
        rows += [f"| {row.class_type} | {_title(row.class_type)} | {_fate(row.class_type)} |" for row in family.ROWS]
        parts.append("\n".join(rows) + "\n")
    return "".join(parts)


def _title(class_type: str) -> str:
    return (builtin()[class_type].display_name or class_type).replace("|", "\\|")


def _fate(class_type: str) -> str:
    node = NODES[class_type]
    if node.place is not None:
        return "function"
    made = {output.type for output in node.outputs}
    return "value" if made and made <= COMPILE_TIME_TYPES else "step"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
