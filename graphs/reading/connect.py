"""Which link ends at which input: the list of links decides, as in the front end of today.

Of several links to one slot that stays which its input lists, else the first. The target slot counts along the inputs
as the class makes them (its sockets, then its widgets) and then as the file adds them. Where an input stands elsewhere
in the file, the links that it lists move with it; a link whose slot does not exist goes to the input that lists it.
Links that only an input lists are not there. Classes whose inputs grow with what is linked are taken as the file lists
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from graphs.reading.findings import Findings
from graphs.reading.ui_graph import Definition, Document, UiGraph, UiInput, UiNode
from graphs.reading.widget_list import is_browser_widget, widget_type
from graphs.schemas import Schemas


def connect(document: Document, schemas: Schemas, findings: Findings) -> None:
    """Set UiInput.link of every node of the document from the lists of links."""
    for graph in (document.graph, *(d.graph for d in document.definitions.values())):
        _connect(graph, document.definitions, schemas, findings)


def _connect(graph: UiGraph, definitions: Mapping[str, Definition], schemas: Schemas, findings: Findings) -> None:
    lost = _drop_second_links(graph)
    rows = {id: _Inputs(node, definitions, schemas) for id, node in graph.nodes.items()}
    for id, link in graph.links.items():
        row = rows.get(link.target)
        if row is not None:
            row.attach(id, link.target_slot)
    for row in rows.values():
        for id, (_, slot) in row.listed.items():
            if id not in graph.links:
                what = "another link has its place" if id in lost else "the file has no such link"
                findings.warn(
                    "dangling_link",
                    f"link {id[:40]} is left out: {what}",
                    node_id=row.node.id,
                    class_type=row.node.type,
                    input_name=slot.name[:60],
                )


def _drop_second_links(graph: UiGraph) -> set[str]:
    """Remove links to a slot that another link has."""
    holders: dict[tuple[str, int], str] = {}
    lost: set[str] = set()
    for id, link in graph.links.items():
        target = graph.nodes.get(link.target)
        if target is None or link.target_slot < 0:
            continue
        end = (link.target, link.target_slot)
        holder = holders.setdefault(end, id)
        if holder != id:
            lister = target.inputs[link.target_slot] if link.target_slot < len(target.inputs) else None
            if lister is not None and lister.link == id:
                holders[end], id = id, holder
            lost.add(id)
    for id in lost:
        del graph.links[id]
    return lost


class _Inputs:
    """The inputs of one node while its links are attached. listed: link -> (place in the file, input) that lists it."""

    def __init__(self, node: UiNode, definitions: Mapping[str, Definition], schemas: Schemas) -> None:
        self.node = node
        self.listed: dict[str, tuple[int, UiInput]] = {}
        for place, slot in enumerate(node.inputs):
            if slot.link is not None:
                self.listed.setdefault(slot.link, (place, slot))
                slot.link = None
        self._definitions, self._schemas = definitions, schemas
        self._built: list[UiInput] | None = None
        self._present = {id(slot) for slot in node.inputs}

    def attach(self, link: str, index: int) -> None:
        """Set the input that the link ends at, if that is still free."""
        slot = self._slot(link, index)
        if slot is None or slot.link is not None:
            return
        slot.link = link
        if id(slot) not in self._present:
            self._present.add(id(slot))
            self.node.inputs.append(slot)

    def _slot(self, id: str, index: int) -> UiInput | None:
        place, lister = self.listed.get(id, (-1, None))
        if lister is not None and place == index:
            return lister  # the file and its list agree, as nearly always
        if self._built is None:
            self._built = self._build()
        inside = 0 <= index < len(self._built)
        if lister is not None and (not inside or self._built[min(place, len(self._built) - 1)] is not lister):
            return lister
        return self._built[index] if inside else None

    def _build(self) -> list[UiInput]:
        made = self._made()
        if made is None:
            return list(self.node.inputs)
        own: dict[str, UiInput] = {}
        for slot in self.node.inputs:
            own.setdefault(slot.name, slot)
        names = {slot.name for slot in made}
        return [own.get(slot.name, slot) for slot in made] + [s for s in self.node.inputs if s.name not in names]

    def _made(self) -> list[UiInput] | None:
        """The inputs of a new node of the class; None where they are not known, or grow with what is linked."""
        definition = self._definitions.get(self.node.type)
        if definition is not None:
            return [UiInput(name, kind) for name, kind in definition.inputs]
        schema = self._schemas.lookup(self.node.type)
        if schema is None or any(widget_type(i).startswith("COMFY_") for i in schema.inputs):
            return None
        shown = [i for i in schema.inputs if not i.hidden]
        sockets = [UiInput(i.name, i.type) for i in shown if not is_browser_widget(i)]
        return sockets + [UiInput(i.name, i.type, widget=i.name) for i in shown if is_browser_widget(i)]
