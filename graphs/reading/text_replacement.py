"""%Node.widget% and %date:yyyy-MM-dd% in file name prefixes: the front end replaces them at queue time.

Node is a node's "Node name for S&R" property, or its title. What a server replaces itself (%width%, %year% ...) stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime

from graphs.node import Node
from graphs.reading.findings import Findings, brief
from graphs.reading.ui_graph import UiNode
from graphs.schemas import Schemas

_PATTERN = re.compile(r"%([^%]+)%")
_DATE = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yy")
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def replace_texts(
    nodes: Mapping[str, Node],
    ui_nodes: Mapping[str, UiNode],
    schemas: Schemas,
    now: datetime | None,
    keep_dates: bool,
    findings: Findings,
) -> dict[str, Node]:
    """The nodes with the patterns in filename_prefix of output nodes replaced."""
    return {
        node_id: _replaced(node, nodes, ui_nodes, now, keep_dates, findings)
        if _saves(node, schemas) and "%" in str(node.inputs["filename_prefix"])
        else node
        for node_id, node in nodes.items()
    }


def _saves(node: Node, schemas: Schemas) -> bool:
    if not isinstance(node.inputs.get("filename_prefix"), str):
        return False
    schema = schemas.lookup(node.class_type)
    return schema is not None and schema.output_node


def _replaced(
    node: Node,
    nodes: Mapping[str, Node],
    ui_nodes: Mapping[str, UiNode],
    now: datetime | None,
    keep_dates: bool,
    findings: Findings,
) -> Node:
    def found(pattern: re.Match[str]) -> str:
        text = pattern.group(1)
        alias, dot, widget = text.partition(".")
        if text.startswith("date:"):
            return pattern.group() if keep_dates else format_date(text[5:], now or datetime.now().astimezone())
        if not dot or "." in widget:
            return pattern.group()
        source = _find(alias, ui_nodes)
        value = nodes[source].inputs.get(widget) if source is not None and source in nodes else None
        if not isinstance(value, str | int | float):
            findings.warn(
                "text_replacement",
                f"nothing replaces {brief(pattern.group())}",
                node_id=node.id,
                class_type=node.class_type,
                input_name="filename_prefix",
            )
            return pattern.group()
        return _UNSAFE.sub("_", _javascript_text(value))

    prefix = _PATTERN.sub(found, str(node.inputs["filename_prefix"]))
    return Node(node.id, node.class_type, {**node.inputs, "filename_prefix": prefix}, node.title, node.meta)


def _find(alias: str, ui_nodes: Mapping[str, UiNode]) -> str | None:
    tests: tuple[Callable[[UiNode], bool], ...] = (
        lambda n: n.properties.get("Node name for S&R") == alias,
        lambda n: n.title == alias,
    )
    return next((n.id for test in tests for n in ui_nodes.values() if test(n)), None)


def _javascript_text(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def format_date(pattern: str, now: datetime) -> str:
    """A moment in the front end's notation: yyyy yy MM M dd d hh h (24 hours) mm m ss s."""

    def part(match: re.Match[str]) -> str:
        text = match.group()
        if text[0] == "y":
            return f"{now.year:04d}"[-len(text) :]
        value = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}[text[0]]
        return str(value).zfill(len(text))

    return _DATE.sub(part, pattern)
