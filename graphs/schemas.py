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

SERVER = "ComfyUI 0.33"  # the newest server that the shipped facts were read from; messages name it

# Old class name -> today's. Only renames with the same inputs in the same order.
# Source: workflow-format notes; the class was registered with a trailing space until 2023-08.
RENAMES: Mapping[str, str] = {
    "ConditioningAverage ": "ConditioningAverage",
}


class Schemas(Mapping[str, NodeDef]):
    """class_type -> NodeDef, parsed on first use. facts: /object_info entries by class; earlier mappings win."""

    def __init__(self, facts: Mapping[str, Json], lowered: Mapping[str, NodeDef] | None = None) -> None:
        self._facts: tuple[Mapping[str, Json], ...] = (facts,)
        self._lowered: Mapping[str, NodeDef] = lowered or {}
        self._parsed: dict[str, NodeDef] = {}

    def __getitem__(self, class_type: str) -> NodeDef:
        known = self._lowered.get(class_type) or self._parsed.get(class_type)
        if known is None:
            facts = next((f for f in self._facts if class_type in f), None)
            if facts is None:
                raise KeyError(class_type)
            known = self._parsed[class_type] = node_def(class_type, facts[class_type])
        return known

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys(name for names in (self._lowered, *self._facts) for name in names)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._lowered or any(class_type in facts for facts in self._facts)

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
        layered = Schemas({}, self._lowered)
        layered._facts = (dump, *self._facts)
        return layered


@cache
def builtin() -> Schemas:
    """The schemas that ship with comfyc and those of installed node packs, loaded once per process."""
    from graphs.nodes.packs import node_table  # late: not every command needs the lowered classes

    return Schemas(shipped(), node_table())
