"""Nodes from outside this project: packages that name their rows in the entry-point group "comfyc.nodes"."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import metadata

from graphs.errors import UsageError, WorkflowError
from graphs.nodes import NODES
from graphs.rows import NodeTable, Row, definition

GROUP = "comfyc.nodes"


@cache
def node_table() -> NodeTable:
    """Every node class that can be compiled here: ours and those of installed packs, read once per process.

    Raises UsageError naming the pack that cannot be loaded, or that defines a class which is there already.
    """
    return joined(NODES, metadata.entry_points(group=GROUP))


def joined(own: NodeTable, packs: Iterable[metadata.EntryPoint]) -> NodeTable:
    """One table of all. An entry point is a tuple of rows."""
    rows = list(own.rows.values())
    classes, ops = set(own.rows), set(own.ops)
    for entry in packs:
        pack = f"node pack '{entry.name}' ({entry.dist.name if entry.dist else entry.value})"
        for row in _rows(entry, pack):
            hint = "uninstall one of the packs, or rename it in this one"
            if row.class_type in classes:
                raise UsageError(f"defines {row.class_type}, which is there already", where=pack, hint=hint)
            if row.op in ops:
                raise UsageError(f"defines the op {row.op}, which is there already", where=pack, hint=hint)
            classes.add(row.class_type)
            ops.update(() if row.op is None else (row.op,))
            rows.append(row)
    return NodeTable(rows) if len(rows) > len(own) else own


def _rows(entry: metadata.EntryPoint, pack: str) -> Iterable[Row]:
    """The rows of a pack, whose schemas are read once, so that a damaged one is reported before any workflow."""
    try:
        found = entry.load()
    except Exception as error:  # a pack is foreign code: whatever it raises, the user must learn which pack it is
        hint = "update or uninstall the pack"
        raise UsageError(f"cannot be loaded: {type(error).__name__}: {error}", where=pack, hint=hint) from error
    if not isinstance(found, tuple | list) or not all(isinstance(row, Row) for row in found):
        raise UsageError("is no table of nodes", where=pack, expected="a tuple of rows (graphs.rows)")
    for row in found:
        try:
            definition(row)
        except KeyError:
            hint = "pass schema=..., the class's entry of a server's /object_info"
            raise UsageError(f"brings no schema for {row.class_type}", where=pack, hint=hint) from None
        except WorkflowError as error:
            raise UsageError(f"has a damaged schema for {row.class_type}: {error}", where=pack) from error
    rows: Iterable[Row] = found
    return rows
