"""CustomCombo: a class whose widgets are its user's. choice, index, then option1, option2 ... with an empty one last.

Source: what the front end 1.58.1 stores and sends. index is the place of the choice among the options; front ends
before it stored none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Any

MAX_OPTIONS = 10_000


def custom_combo_values(values: Sequence[Json]) -> dict[str, Json]:
    """The stored list by name."""
    choice = values[0] if values else None
    counted = len(values) > 1 and isinstance(values[1], int) and not isinstance(values[1], bool)
    options = list(values[2 if counted else 1 : MAX_OPTIONS]) or [""]
    if options[-1] != "":
        options.append("")
    named = {f"option{k + 1}": option for k, option in enumerate(options)}
    return {**({} if choice is None else {"choice": choice}), "index": values[1] if counted else -1, **named}


def with_index(inputs: Mapping[str, Json]) -> dict[str, Json]:
    """The inputs with the index that belongs to their choice, which may have been set from outside."""
    options = [value for name, value in inputs.items() if name.startswith("option")]
    choice = inputs.get("choice")
    index = options.index(choice) if isinstance(choice, str) and choice in options else inputs.get("index", -1)
    return {**inputs, "index": index}
