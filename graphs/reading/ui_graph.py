"""The UI form, normalised: what both versions of the litegraph JSON say, without layout and colours.

Internal to reading and mutable: flattening and link resolution work on these values, then they are gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any

MUTED, BYPASSED = 2, 4  # node modes; every other mode runs
INPUT_NODE, OUTPUT_NODE = "-10", "-20"  # the two ends of a subgraph definition


@dataclass(slots=True)
class UiInput:
    """An input slot. link: key into UiGraph.links. widget: name of the widget that this slot belongs to."""

    name: str
    type: str
    link: str | None = None
    widget: str | None = None
    label: str | None = None


@dataclass(slots=True)
class UiLink:
    origin: str
    slot: int
    target: str
    target_slot: int
    type: str


@dataclass(slots=True)
class UiNode:
    """A node. values: widgets_values as in the file (list, object or None); named: widgets_values_named.

    proxies: of a subgraph instance, (inner node id or "-1", widget) of each promoted widget; None: no list.
    overrides: widget values set from outside (promoted to a subgraph instance); they win over the node's own.
    """

    id: str
    type: str
    mode: int = 0
    inputs: list[UiInput] = field(default_factory=list)
    outputs: list[tuple[str, str]] = field(default_factory=list)  # (name, type)
    values: Json = None
    named: Mapping[str, Json] | None = None
    properties: Mapping[str, Json] = field(default_factory=dict)
    title: str | None = None
    proxies: list[tuple[str, str]] | None = None
    overrides: dict[str, Json] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        return self.mode not in (MUTED, BYPASSED)


@dataclass(slots=True)
class UiGraph:
    """twins: nodes whose id another node of the graph has."""

    nodes: dict[str, UiNode] = field(default_factory=dict)
    links: dict[str, UiLink] = field(default_factory=dict)
    twins: list[UiNode] = field(default_factory=list)


@dataclass(slots=True)
class Definition:
    """A subgraph: inputs and outputs are (name, type) of its two ends, in slot order.

    links_of: by input slot, the ids of its links in the order in which they were made.
    """

    id: str
    name: str
    inputs: list[tuple[str, str]]
    outputs: list[tuple[str, str]]
    graph: UiGraph
    links_of: dict[int, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Document:
    """One UI file."""

    graph: UiGraph
    definitions: dict[str, Definition] = field(default_factory=dict)
    last_node_id: int = 0
    group_nodes: Mapping[str, Json] = field(default_factory=dict)
    everywhere: list[Mapping[str, Json]] | None = None  # extra.ue_links; None: the file has none


End = tuple[str, int]  # (node id, slot) where a link starts


@dataclass(frozen=True, slots=True)
class Fed:
    """A widget that an input of a subgraph feeds: of a node inside, or the input `end` of an instance inside."""

    node: str
    widget: str
    end: End | None = None


@dataclass(slots=True)
class Flat:
    """A document without subgraph instances and group nodes.

    through: (instance id, output slot) or ("INSTANCE:-10", input slot) -> the link that continues there, or None.
    given: ("INSTANCE:-10", input slot) -> the value that the instance holds for it. fed: the same -> the widgets inside
    that it feeds, in the order of its links; the first one's value holds where none is given.
    """

    graph: UiGraph = field(default_factory=UiGraph)
    through: dict[End, str | None] = field(default_factory=dict)
    given: dict[End, Json] = field(default_factory=dict)
    fed: dict[End, list[Fed]] = field(default_factory=dict)
