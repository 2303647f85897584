"""Files of factors: the parts of adapters in place of the weights that they make, independent of the strength.

A safetensors file. Its metadata lists the adapters under "adapters", as JSON: [{"weight", "transposed", "roles"}, ...];
the parts of the n-th are the tensors "n.ROLE", as the LoRA file had them. An adapter may follow another of the same
weight, which is then merged first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from graphs.errors import PlanError
from runtime.adapters import Adapter, kind_of
from runtime.tensor_header import bytes_of, header

Json = Any
FORMAT = "factors-1"  # part of the key of such a file
_LIST = "adapters"
HINT = "run `comfyc cache verify`, then compile again"


@dataclass(frozen=True, eq=False)
class Factors:
    """What one weight becomes. weight: its name in the base file. transposed: it lies there the other way round."""

    weight: str
    transposed: bool
    adapter: Adapter


def write_factors(factors: Iterable[Factors], write: Callable[[bytes | memoryview], object]) -> None:
    listed = list(factors)
    parts = [(f"{n}.{role}", part) for n, one in enumerate(listed) for role, part in one.adapter.parts.items()]
    rows = [{"weight": f.weight, "transposed": f.transposed, "roles": list(f.adapter.parts)} for f in listed]
    metadata = {"format": "pt", _LIST: json.dumps(rows, separators=(",", ":"))}
    write(header(((name, part.dtype, tuple(part.shape)) for name, part in parts), metadata))
    for _, part in parts:
        write(bytes_of(part))


def read_factors(path: Path) -> tuple[Factors, ...]:
    """The parts are views of the mapped file. Raises PlanError: gone, damaged, or no file of factors."""
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            rows = json.loads((file.metadata() or {})[_LIST])
            return tuple(_factors(file, n, row) for n, row in enumerate(rows))
    except FileNotFoundError as error:
        raise PlanError("the weight file is gone", where=str(path), hint="compile the plan again") from error
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise PlanError(f"the file of factors cannot be read: {error}", where=str(path), hint=HINT) from error


def _factors(file: Any, n: int, row: Json) -> Factors:
    weight, transposed, roles = row["weight"], row["transposed"], row["roles"]
    if not isinstance(weight, str) or not isinstance(transposed, bool) or not isinstance(roles, list):
        raise ValueError(f"adapter {n} is described wrongly")
    adapter = Adapter({role: file.get_tensor(f"{n}.{role}") for role in roles})
    if kind_of(adapter.parts) is None:
        raise ValueError(f"adapter {n} is none: {', '.join(adapter.parts)}")
    return Factors(weight, transposed, adapter)
