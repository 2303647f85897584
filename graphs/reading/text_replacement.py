"""%Node.widget% and %date:yyyy-MM-dd% in file name prefixes: the front end replaces them at queue time.

Node is a node's "Node name for S&R" property (without one its class name), else its title (without one the class's). It
is looked for in the whole file, with the inside of subgraphs where the first instance stands; muted and bypassed nodes
count, and the value is the stored one, also of a widget that is linked. What a server replaces itself (%width%, %year%
...) stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from graphs.node import Node
from graphs.reading.findings import Findings, brief
from graphs.reading.promotion import promoted, widget_slots
from graphs.reading.ui_graph import Document, UiGraph, UiNode
from graphs.reading.virtual_nodes import VIRTUAL
from graphs.reading.widgets import widget_values
from graphs.schemas import Schemas

Json = Any

# Classes whose filename_prefix the front end 1.58.1 replaces.
SAVERS = frozenset(
    {"SaveImage", "SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM"}
    | {"SaveAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveGLB", "Save3DAdvanced", "SaveLatent"}
    | {"SaveGaussianSplat", "SavePointCloud", "CLIPSave", "VAESave", "ModelSave", "LoraSave"}
)
MAX_PREFIX = 64 * 1024  # characters of a prefix after replacement
_PATTERN = re.compile(r"%([^%]+)%")
_DATE = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyyy|yy")
_UNSAFE = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


class Aliases:
    """The nodes of a document by the names under which texts may ask for their values."""

    def __init__(self, document: Document, schemas: Schemas) -> None:
        self._document, self._schemas = document, schemas
        self._tables: tuple[dict[str, UiNode], dict[str, UiNode]] | None = None
        self._slots: dict[str, frozenset[int]] | None = None
        self._values: dict[int, Mapping[str, Json]] = {}  # by id() of the node, which the document keeps

    def value(self, alias: str, widget: str) -> Json:
        """The stored value of a widget, None without."""
        if self._tables is None:
            self._tables = self._index()
        node = next((table[alias] for table in self._tables if alias in table), None)
        if node is None or node.type in VIRTUAL:
            return None
        if id(node) not in self._values:
            self._values[id(node)] = self._values_of(node)
        return self._values[id(node)].get(widget)

    def _values_of(self, node: UiNode) -> Mapping[str, Json]:
        definition = self._document.definitions.get(node.type)
        if definition is None:
            return widget_values(node, self._schemas.lookup(node.type), Findings()) or {}
        if self._slots is None:
            self._slots = widget_slots(self._document)
        given = promoted(definition, node, self._slots.get(definition.id, frozenset()), Findings()).given
        names = [name for name, _ in definition.inputs]
        return {names[slot]: value for slot, value in sorted(given.items(), reverse=True) if slot < len(names)}

    def _index(self) -> tuple[dict[str, UiNode], dict[str, UiNode]]:
        by_name: dict[str, UiNode] = {}
        by_title: dict[str, UiNode] = {}
        for node in self._all_nodes():
            name = node.properties.get("Node name for S&R")
            by_name.setdefault(name if isinstance(name, str) else node.type, node)
            schema = self._schemas.lookup(node.type) if node.title is None else None
            by_title.setdefault(node.title or (schema.display_name if schema else "") or node.type, node)
        return by_name, by_title

    def _all_nodes(self) -> Iterator[UiNode]:
        """In file order, the inside of each definition once, right behind its first instance."""
        seen: set[str] = set()
        stack: list[Iterator[UiNode]] = [iter(self._document.graph.nodes.values())]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                continue
            yield node
            definition = self._document.definitions.get(node.type)
            if definition is not None and definition.id not in seen:
                seen.add(definition.id)
                inside: UiGraph = definition.graph
                stack.append(iter(inside.nodes.values()))


def replace_texts(
    nodes: Mapping[str, Node], aliases: Aliases, now: datetime | None, keep_dates: bool, findings: Findings
) -> dict[str, Node]:
    """The nodes with the patterns in the filename_prefix of saving nodes replaced."""
    return {
        node_id: _replaced(node, aliases, now, keep_dates, findings) if _asks(node) else node
        for node_id, node in nodes.items()
    }


def _asks(node: Node) -> bool:
    prefix = node.inputs.get("filename_prefix")
    return node.class_type in SAVERS and isinstance(prefix, str) and "%" in prefix


def _replaced(node: Node, aliases: Aliases, now: datetime | None, keep_dates: bool, findings: Findings) -> Node:
    where = {"node_id": node.id, "class_type": node.class_type, "input_name": "filename_prefix"}
    size = 0

    def found(pattern: re.Match[str]) -> str:
        nonlocal size
        text = pattern.group(1)
        alias, dot, widget = text.partition(".")
        if text.startswith("date:"):
            return pattern.group() if keep_dates else format_date(text[5:], now or datetime.now().astimezone())
        if not dot or "." in widget or size > MAX_PREFIX:
            return pattern.group()
        value = aliases.value(alias, widget)
        if not isinstance(value, str | int | float):
            findings.warn("text_replacement", f"nothing replaces {brief(pattern.group())}", **where)
            return pattern.group()
        size += len(value) if isinstance(value, str) else 0
        return _UNSAFE.sub("_", _javascript_text(value)) if size <= MAX_PREFIX else ""

    prefix = _PATTERN.sub(found, str(node.inputs["filename_prefix"]))
    if size > MAX_PREFIX:
        findings.problem("too_large", f"its replacements make more than {MAX_PREFIX} characters", **where)
    return Node(node.id, node.class_type, {**node.inputs, "filename_prefix": prefix}, node.title, node.meta)


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
