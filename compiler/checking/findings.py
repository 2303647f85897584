"""The problems of one check, and suggestions for them, which are bounded: looking for one costs more than a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from reprlib import Repr
from typing import Any

from graphs.errors import Problem
from graphs.node import Node

Json = Any

MAX_SUGGESTIONS = 200  # looked for in one workflow: a thousandth of a second each, or more
_LONGEST = 255  # characters of a word that is compared

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 300
_repr.maxlist = _repr.maxdict = _repr.maxtuple = 12
_repr.maxlevel = 4


def shown(value: Json) -> str:
    """A value as a message shows it: its repr, shortened where it is long or deep."""
    return _repr.repr(value)


@dataclass
class Findings:
    """Problems in the order in which they were found."""

    problems: list[Problem] = field(default_factory=list)
    suggestions_left: int = MAX_SUGGESTIONS

    def add(
        self,
        kind: str,
        message: str,
        node: Node | None = None,
        input_name: str | None = None,
        *,
        expected: str | None = None,
        got: str | None = None,
        hint: str | None = None,
        severity: str = "error",
        **facts: Json,
    ) -> None:
        """facts: what a server's answer repeats besides (see server_errors)."""
        node_id, class_type = (node.id, node.class_type) if node is not None else (None, None)
        self.problems.append(
            Problem(
                kind, message, node_id, class_type, input_name, expected, got, hint, severity=severity, extra_info=facts
            )
        )

    def similar(self, word: Json, known: Iterable[Json], most: int = 3, cutoff: float = 0.6) -> tuple[str, ...]:
        """Those of the known words that look like it, letter case aside; none once the workflow had its share."""
        if self.suggestions_left <= 0:
            return ()
        self.suggestions_left -= 1
        by_fold = {str(entry).casefold()[:_LONGEST]: str(entry) for entry in known}
        close = get_close_matches(str(word).casefold()[:_LONGEST], by_fold, n=most, cutoff=cutoff)
        return tuple(by_fold[entry] for entry in close)
