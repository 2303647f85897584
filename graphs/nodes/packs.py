"""Nodes from outside this project: packages that name a table of NodeDefs in the entry-point group "comfyc.nodes"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from types import MappingProxyType

from graphs.definition import NodeDef
from graphs.errors import UsageError
from graphs.nodes import NODES

GROUP = "comfyc.nodes"


@cache
def node_table() -> Mapping[str, NodeDef]:
    """Every node class that can be compiled here: ours and those of installed packs, read once per process.

    Raises UsageError naming the pack that cannot be loaded, or that defines a class which is there already.
    """
    return joined(NODES, metadata.entry_points(group=GROUP))


def joined(own: Mapping[str, NodeDef], packs: Iterable[metadata.EntryPoint]) -> Mapping[str, NodeDef]:
    """One table of all. An entry point is a mapping of class_type to NodeDef."""
    table = dict(own)
    for entry in packs:
        pack = f"node pack '{entry.name}' ({entry.dist.name if entry.dist else entry.value})"
        try:
            found = entry.load()
        except Exception as error:  # a pack is foreign code: whatever it raises, the user must learn which pack it is
            hint = "update or uninstall the pack"
            raise UsageError(f"cannot be loaded: {type(error).__name__}: {error}", where=pack, hint=hint) from error
        if not isinstance(found, Mapping) or not all(isinstance(d, NodeDef) for d in found.values()):
            raise UsageError("is no table of nodes", where=pack, expected="a mapping of class_type to NodeDef")
        for class_type, definition in found.items():
            if definition.class_type != class_type:
                raise UsageError(f"lists {definition.class_type} under {class_type}", where=pack)
            if class_type in table:
                hint = "uninstall one of the packs, or rename the class"
                raise UsageError(f"defines {class_type}, which is there already", where=pack, hint=hint)
            table[class_type] = definition
    return MappingProxyType(table)
