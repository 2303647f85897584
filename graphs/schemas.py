"""The schemas of node classes: ours, the shipped facts about ComfyUI's built-in nodes, and a user's /object_info.

Precedence, first hit wins: classes that comfyc lowers (graphs.nodes.packs), the user's dumps (newest first), the
shipped data file. A dump never replaces a class that comfyc lowers: what is compiled is our definition, not the
server's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from graphs.definition import NodeDef
from graphs.errors import Problem, WorkflowError
from graphs.object_info import Json, node_def
from graphs.shipped_schemas import shipped

# Old class name -> today's. Only renames with the same inputs in the same order.
# Source: workflow-format notes; the class was registered with a trailing space until 2023-08.
RENAMES: Mapping[str, str] = {
    "ConditioningAverage ": "ConditioningAverage",
}


class Schemas(Mapping[str, NodeDef]):
    """class_type -> NodeDef, parsed on first use: a CLI that reads one workflow pays for its classes only."""

    def __init__(self, facts: Mapping[str, Json], lowered: Mapping[str, NodeDef] | None = None) -> None:
        self._facts = facts
        self._lowered: Mapping[str, NodeDef] = lowered or {}
        self._parsed: dict[str, NodeDef] = {}

    def __getitem__(self, class_type: str) -> NodeDef:
        known = self._lowered.get(class_type) or self._parsed.get(class_type)
        if known is None:
            known = self._parsed[class_type] = node_def(class_type, self._facts[class_type])
        return known

    def __iter__(self) -> Iterator[str]:
        yield from self._lowered
        yield from (c for c in self._facts if c not in self._lowered)

    def __len__(self) -> int:
        return len(self._facts.keys() | self._lowered.keys())

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._lowered or class_type in self._facts

    def lookup(self, class_type: str) -> NodeDef | None:
        """The schema of a class, also under a name that it had earlier; None when unknown."""
        if class_type in self:
            return self[class_type]
        return self.get(RENAMES.get(class_type, ""))

    def with_object_info(self, dump: Json) -> Schemas:
        """These schemas plus those of a server's /object_info answer, which win over the shipped facts.

        Raises: WorkflowError listing every class whose entry cannot be understood.
        """
        if not isinstance(dump, Mapping):
            raise WorkflowError(
                "this is no /object_info dump: expected an object of classes",
                hint="save the answer of http://HOST:8188/object_info to a file",
            )
        problems: list[Problem] = []
        for class_type, info in dump.items():
            try:
                node_def(class_type, info)
            except WorkflowError as error:
                problems.extend(error.problems)
        if problems:
            raise WorkflowError("the /object_info dump has entries that cannot be understood", tuple(problems))
        return Schemas({**self._facts, **dump}, self._lowered)


@cache
def builtin() -> Schemas:
    """The schemas that ship with comfyc and those of installed node packs, loaded once per process."""
    from graphs.nodes.packs import node_table  # late: not every command needs the lowered classes

    return Schemas(shipped(), node_table())
