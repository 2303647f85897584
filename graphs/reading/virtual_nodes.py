"""Node classes that exist only in the browser: the front end and its extensions resolve them, no server knows them.

Source: the behaviour of the front end and of the named extensions (rgthree-comfy, KJNodes, Easy-Use, mtb,
cg-use-everywhere), as seen in public workflow files.
"""

from __future__ import annotations

from graphs.reading.findings import Findings
from graphs.reading.ui_graph import UiNode

REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
SETTERS = frozenset({"SetNode", "easy setNode"})
GETTERS = frozenset({"GetNode", "easy getNode"})
PRIMITIVES = frozenset({"PrimitiveNode", "Seed Everywhere"})
EVERYWHERE = frozenset(
    {"Anything Everywhere", "Anything Everywhere?", "Anything Everywhere3", "Prompts Everywhere", "Seed Everywhere"}
)
NOTES = frozenset({"Note", "MarkdownNote", "Note Plus (mtb)", "Label (rgthree)", "Bookmark (rgthree)"})
CONTROLS = frozenset(
    {
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Node Collector (rgthree)",
        "Node Combiner (rgthree)",
        "Random Unmuter (rgthree)",
    }
)
VIRTUAL = REROUTES | SETTERS | GETTERS | PRIMITIVES | EVERYWHERE | NOTES | CONTROLS


def reason(node: UiNode) -> str:
    """Why a virtual node is not in the graph, for the list of dissolved nodes."""
    for kinds, text in (
        (REROUTES, "reroute: its consumers take its source"),
        (SETTERS, "set node: get nodes of its name take its source"),
        (GETTERS, "get node: its consumers take what the set node of its name takes"),
        (PRIMITIVES, "primitive: its value was written to the widgets it feeds"),
        (EVERYWHERE, "broadcast: its links were added"),
        (NOTES, "note"),
    ):
        if node.type in kinds:
            return text
    return "browser control: it does nothing on a server"


def primitive_value(node: UiNode) -> tuple[object] | None:
    """The value that a PrimitiveNode writes to its targets, boxed; None when the file does not hold one."""
    if "value" in node.overrides:  # set by the instance around it
        return (node.overrides["value"],)
    if isinstance(node.values, list) and node.values:
        return (node.values[0],)
    if node.named:
        return (next(iter(node.named.values())),)
    return None


def variable_name(node: UiNode) -> str | None:
    """The name that a SetNode or GetNode carries in its widget."""
    value = node.values[0] if isinstance(node.values, list) and node.values else None
    if not isinstance(value, str) or not value:
        value = node.properties.get("previousName")
    return value if isinstance(value, str) and value else None


def setters(nodes: dict[str, UiNode], findings: Findings) -> dict[str, UiNode]:
    """SetNode by name; the first of two with one name, with a warning."""
    found: dict[str, UiNode] = {}
    for node in nodes.values():
        name = variable_name(node) if node.type in SETTERS else None
        if name is None:
            continue
        if name in found:
            findings.warn(
                "ambiguous_variable",
                f"a second set node is named {name[:60]!r}; node {found[name].id} is used",
                node_id=node.id,
                class_type=node.type,
                hint="rename one of them",
            )
        else:
            found[name] = node
    return found
